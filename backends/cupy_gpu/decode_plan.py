"""Which streams the decoding kernels know, and what they are told of them."""

from typing import NamedTuple

from mcore.backend import Decoding
from mcore.backends.cupy_gpu.sources import Variant
from mcore.readout import MovingAverage, Readout
from mcore.recurrence import Recurrence

LAWS = {
    **dict.fromkeys(("linear", "retention", "gated_linear", "mamba2", "gla"), 0),
    **dict.fromkeys(("delta", "gated_delta"), 1),
    "rwkv7": 2,
    "swla": 3,
    "mlstm": 4,
}
"""How a token is written to a matrix memory; see `cuda/decode_laws.cuh`."""

VECTORS = {"lstm": 4, "gru": 3, "slstm": 4}
"""Gates of the memories that are vectors, of which the first is read."""

WIDEST = 256
"""Numbers in a row of a state: a block holds one."""

ROUTED, RESIDUAL, UNIFORM, FADING, ANSWERED = range(5)
UNDIVIDED, PLAINLY, FLOORED = range(3)

CODES = {None: 0, "float32": 1, "float16": 2, "bfloat16": 3, "int8": 4}
"""How checkpoints are stored."""


def decodes(decoding: Decoding) -> bool:
    """Whether the kernels know the composition."""
    rule, readout, cache = decoding.rule, decoding.readout, decoding.cache
    plain = {"none", "grm", "ssc", "residual", "moving_average", "sigmoid"}
    router = readout.routing
    lots = router is not None and router.seed is not None
    return (
        (rule.kind in LAWS or _is_asked(decoding))
        and (readout.kind in plain or (readout.kind == "soup" and rule.linear_read))
        and not lots
        and not (cache.limit is not None and cache.evict != "oldest")
        and cache.evict != "least_used"
        and decoding.skip is None
        and sizes_of(decoding).width <= WIDEST
    )


def _is_asked(decoding: Decoding) -> bool:
    """Whether the memory is vectors, which have no query that could be the router's."""
    readout = decoding.readout
    return decoding.rule.kind in VECTORS and (readout.routing is None or "u" in readout.inputs)


class Sizes(NamedTuple):
    """Lengths, as the kernels take them.

    Attributes:
        heads, keys, values: H, K, V.
        rows, width: of a state.
        asked: rows of a state that a query meets.
        top_k: checkpoints that are read; 0 for all.
        gates: of a vector memory, else 0.
    """

    heads: int
    keys: int
    values: int
    rows: int
    width: int
    asked: int
    top_k: int
    gates: int


def sizes_of(decoding: Decoding) -> Sizes:
    """The lengths of a composition."""
    dims, router = decoding.dims, decoding.readout.routing
    rows, width = decoding.rule.state_shape(dims)
    top_k = (router.top_k or 0) if router else 0
    gates = VECTORS.get(decoding.rule.kind, 0)
    return Sizes(dims.H, dims.K, dims.V, rows, width, 1 if gates else dims.K, top_k, gates)


def variant_of(decoding: Decoding, dtype: str) -> Variant:
    """The kernels of a composition."""
    width = -(-sizes_of(decoding).width // 16) * 16
    code = CODES[decoding.cache.dtype] if decoding.cache.dtype != dtype else CODES[None]
    family = f"decode_{decoding.rule.kind}" if decoding.rule.kind in VECTORS else "decode"
    return Variant(family, dtype, dtype, (("MC_WIDTH", width), ("MC_CODE", code)))


def plan_of(decoding: Decoding) -> int:
    """What a composition is, as bits; see `Plan` in `cuda/decode.cuh`."""
    rule, router = decoding.rule, decoding.readout.routing
    flags = (
        decoding.carries,
        getattr(rule, "feature_map", "identity") != "identity",
        rule.inputs.get("log_decay") == "H",
        router is not None and router.pool == "sum",
        router is not None and router.online == "outside",
    )
    bits = LAWS.get(rule.kind, 0) | _weights(decoding.readout) << 3 | _division(rule) << 6
    return bits | sum(flag << 8 + place for place, flag in enumerate(flags))


def factors_of(decoding: Decoding) -> tuple[float, float]:
    """What logits are multiplied by, and the rate of a moving average."""
    scale = getattr(decoding.readout, "scale", None)
    rate = getattr(decoding.readout, "rate", 0.0)
    return float(max(decoding.dims.K, 1) ** -0.5 if scale is None else scale), float(rate)


def _division(rule: Recurrence) -> int:
    if rule.kind == "mlstm":
        return FLOORED
    return PLAINLY if getattr(rule, "normalize", False) else UNDIVIDED


def _weights(readout: Readout) -> int:
    if readout.routing is not None:
        return ROUTED
    if isinstance(readout, MovingAverage):
        return UNIFORM if readout.weights == "uniform" else FADING
    return ANSWERED if readout.answers_gate else RESIDUAL
