"""What the cache of each memory layer holds: bytes per checkpoint and token, and the cap."""

from mcore.model.layout import Layout
from mcore.model.memory_mixer import MemoryMixer
from mcore.segmentation import Adaptive, Constant, Segmentation
from mcore.spec.plan_text import size


def cache_lines(layout: Layout, itemsize: int) -> list[str]:
    """One sentence for each kind of memory that keeps checkpoints."""
    mixers = [p.part for p in layout.parts.values() if isinstance(p.part, MemoryMixer)]
    return list(dict.fromkeys(_line(m, itemsize) for m in mixers if m.memory.readout.reads_cache))


def _line(mixer: MemoryMixer, itemsize: int) -> str:
    memory = mixer.memory
    each = mixer.sizes.heads * mixer.cost.checkpoint_bytes(itemsize)
    words = f"cache of {memory.rule.kind}: {_cuts(memory.segmentation)}, {size(each)} a checkpoint"
    if memory.cache.dtype is not None:
        words += f" ({memory.cache.dtype})"
    rate = _rate(memory.segmentation)
    if rate is not None:
        words += f", {'at most ' if rate[1] else ''}{each / rate[0]:.0f} bytes a token"
    if memory.cache.limit is None:
        return f"{words}, without a limit (memory.cache.limit sets one)"
    cap = size(each * memory.cache.limit)
    return f"{words}, never more than {memory.cache.limit} of them or {cap} ({memory.cache.evict})"


def _cuts(segmentation: Segmentation) -> str:
    if isinstance(segmentation, Constant):
        return f"a cut every {segmentation.length} tokens"
    if isinstance(segmentation, Adaptive):
        low, high = segmentation.min, segmentation.max
        bound = f"{segmentation.rule} > {segmentation.threshold:g}"
        return f"a cut where {bound}, every {low} to {high} tokens"
    return f"{segmentation.kind} cuts"


def _rate(segmentation: Segmentation) -> tuple[int, bool] | None:
    """Tokens per checkpoint, and whether that is only a bound; None if it has no meaning."""
    if isinstance(segmentation, Constant):
        return segmentation.length, False
    return (segmentation.min, True) if isinstance(segmentation, Adaptive) else None
