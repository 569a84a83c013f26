"""How many checkpoints a graph must hold: its arrays do not grow."""

from mcore.errors import SpecError
from mcore.export.mixture import mixes
from mcore.memory_layer import Memory
from mcore.segmentation import Given, NoSegmentation


def slots_of(memory: Memory, max_segments: int | None) -> int:
    """The number of checkpoint slots; 0 if none is read by itself.

    Args:
        memory: the composition.
        max_segments: for a cache that has no limit, how many checkpoints are held at most.

    Raises:
        SpecError: the cache has no limit and none is given, or one that will not do.
    """
    if max_segments is not None and max_segments < 1:
        raise SpecError(f"max_segments: {max_segments} is too small; 1 or more would do")
    cut, limit = memory.segmentation, memory.cache.limit
    if isinstance(cut, NoSegmentation) or not memory.readout.reads_cache or mixes(memory):
        return 0
    if isinstance(cut, Given):
        most = max(map(len, cut.lengths)) - 1
        return most if limit is None else min(most, limit)
    if limit is not None:
        return limit
    if max_segments is None:
        raise SpecError(
            f"cache: {memory.readout.kind} over {cut.kind} segments keeps every checkpoint, and a "
            "graph holds a fixed number of them; --max-segments 64 (in Python max_segments=64) "
            "would do, and drops the oldest beyond it; so would a cache: {limit: 64}"
        )
    return max_segments
