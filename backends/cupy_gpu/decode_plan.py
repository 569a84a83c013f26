"""Which streams the decoding kernels know, and the constants that they are compiled with."""

from typing import NamedTuple

from mcore.arrays import Array
from mcore.backend import Decoding
from mcore.backends.cupy_gpu.sources import Variant
from mcore.readout import MovingAverage, Readout
from mcore.recurrence import Inputs

LAWS = {
    **dict.fromkeys(("linear", "retention", "gated_linear", "mamba2", "gla"), 0),
    **dict.fromkeys(("delta", "gated_delta"), 1),
}
"""Whether a token writes its value (0) or its value's error (1)."""

WIDEST = 256
"""Values (V): a block holds one row of the state."""

ROUTED, RESIDUAL, UNIFORM, FADING = range(4)


def decodes(decoding: Decoding) -> bool:
    """Whether the kernels know the composition."""
    rule, readout, cache = decoding.rule, decoding.readout, decoding.cache
    plain = getattr(rule, "feature_map", "identity") == "identity"
    router = readout.routing
    lots = router is not None and router.seed is not None
    return (
        rule.kind in LAWS
        and plain
        and not getattr(rule, "normalize", False)
        and readout.kind in {"none", "grm", "ssc", "soup", "residual", "moving_average"}
        and not lots
        and not (cache.limit is not None and cache.evict != "oldest")
        and cache.evict != "least_used"
        and cache.dtype is None
        and decoding.skip is None
        and decoding.dims.V <= WIDEST
    )


def variant_of(decoding: Decoding, dtype: str) -> Variant:
    """The kernels of a composition."""
    router = decoding.readout.routing
    sizes = {
        "MC_VALUES": -(-decoding.dims.V // 16) * 16,
        "MC_LAW": LAWS[decoding.rule.kind],
        "MC_CARRIES": int(decoding.carries),
        "MC_DECAY_BY_HEAD": int(decoding.rule.kind == "retention"),
        "MC_WEIGHTS": _weights(decoding.readout),
        "MC_TOP_K": (router.top_k or 0) if router else 0,
        "MC_SUMS": int(router is not None and router.pool == "sum"),
        "MC_OUTSIDE": int(router is not None and router.online == "outside"),
    }
    return Variant("decode", dtype, dtype, tuple(sizes.items()))


def _weights(readout: Readout) -> int:
    if readout.routing is not None:
        return ROUTED
    if isinstance(readout, MovingAverage):
        return UNIFORM if readout.weights == "uniform" else FADING
    return RESIDUAL


class Token(NamedTuple):
    """One token's inputs, in the order of the kernel; None where the composition has none."""

    q: Array
    k: Array
    v: Array
    u: Array | None
    temperature: Array | None
    log_decay: Array | None
    decays: Array | None
    beta: Array | None


def token_of(decoding: Decoding, inputs: Inputs) -> Token:
    """A token's arrays, as they are: the kernels do the rest."""
    routed = decoding.readout.routing is not None
    decay = inputs.get("log_decay")
    by_channel = decay is not None and decay.ndim == 4
    return Token(
        q=inputs["q"],
        k=inputs["k"],
        v=inputs["v"],
        u=inputs.get("u", inputs["q"]) if routed else None,
        temperature=inputs.get("temperature"),
        log_decay=None if by_channel else decay,
        decays=decay if by_channel else None,
        beta=inputs.get("beta"),
    )


def factors_of(decoding: Decoding) -> tuple[float, float]:
    """What logits are multiplied by, and the rate of a moving average."""
    scale = getattr(decoding.readout, "scale", None)
    rate = getattr(decoding.readout, "rate", 0.0)
    return float(max(decoding.dims.K, 1) ** -0.5 if scale is None else scale), float(rate)
