"""Which compositions the decoding kernels know, and what they are told of them."""

import numpy as np

from mcore.arrays import Array
from mcore.backend import Decoding
from mcore.backends.numba_cpu import decode_work as at
from mcore.readout import MovingAverage, Readout
from mcore.recurrence import Recurrence

LAWS = {
    **dict.fromkeys(("linear", "retention", "gated_linear", "mamba2", "gla"), at.WRITES),
    **dict.fromkeys(("delta", "gated_delta"), at.CORRECTS),
    "rwkv7": at.REMOVES,
    "swla": at.REPEATS,
    "mlstm": at.EXPONENTIAL,
    "lstm": at.LSTM,
    "gru": at.GRU,
    "slstm": at.SLSTM,
    "dla": at.DLA,
    "titans": at.TITANS,
    "yaad": at.YAAD,
    "moneta": at.MONETA,
    "memora": at.MEMORA,
}

PLANES = {at.LSTM: 5, at.GRU: 4, at.SLSTM: 7}
"""Gates, and what they are made of, of a token of a vector memory."""

MIRRORS = frozenset({at.MONETA, at.MEMORA})
"""Perceptrons whose weights are the image of what descends."""

ROUTES = frozenset({"grm", "ssc"})
CONSTANTS = frozenset({"residual", "moving_average"})

GATES = ("gate_online", "gate_cached", "gate_bias")
"""Inputs that make gates of answers, behind all entries of a token."""

NAMES = {
    "q": "q", "k": "k", "v": "v", "u": "u",
    "log_decay": "decay", "fgate": "decay", "beta": "beta", "igate": "beta", "beta_prev": "more",
    "kk": "removal", "a": "strength", "temperature": "temperature",
    "x": "x", "recurrent": "recurrent", "recurrent_bias": "bias",
    **{name: name for name in GATES},
    "step": "step", "momentum": "momentum", "delta": "delta", "w_in": "w_in", "w_out": "w_out",
}  # fmt: skip
"""Which entry of a token an input is; log-decays by channel are `decays`."""


def decodes(decoding: Decoding) -> bool:
    """Whether the kernels know the composition."""
    rule, readout = decoding.rule, decoding.readout
    known = readout.kind in {"none", "sigmoid", *ROUTES, *CONSTANTS}
    mixes = readout.kind == "soup" and (rule.linear_read or is_deep(rule))
    if rule.kind not in LAWS or (is_vector(rule) and readout.routing and "u" not in readout.inputs):
        return False
    return known or mixes


def is_vector(rule: Recurrence) -> bool:
    """Whether a memory is vectors, of which the first is read."""
    return LAWS[rule.kind] in PLANES


def is_deep(rule: Recurrence) -> bool:
    """Whether a memory is a perceptron."""
    return rule.family == "deep"


def looks_at_use(decoding: Decoding) -> bool:
    """Whether gates decide which checkpoint goes."""
    return decoding.cache.stepwise and decoding.cache.evict == "least_used"


def plan_of(decoding: Decoding) -> Array:
    """(PLAN,) integers; see `decode_work`."""
    rule, readout, dims = decoding.rule, decoding.readout, decoding.dims
    plan = np.zeros(at.PLAN, np.int64)
    plan[[at.LAW, at.FORM, at.CARRIES]] = LAWS[rule.kind], _form(rule, readout), decoding.carries
    plan[[at.KEYS, at.VALUES]] = dims.K, dims.V
    plan[at.WIDTH], plan[at.ASKED] = rule.state_shape(dims)[-1], 1 if is_vector(rule) else dims.K
    plan[at.MAPPED] = getattr(rule, "feature_map", "identity") != "identity"
    plan[at.DIVIDED], plan[at.CHUNK] = _division(rule), getattr(rule, "chunk", 1)
    plan[at.WEIGHTS] = _weights(readout)
    router = readout.routing
    if router is not None:
        plan[at.SUMS], plan[at.OUTSIDE] = router.pool == "sum", router.online == "outside"
        plan[at.TOP_K], plan[at.LOTS] = router.top_k or 0, router.seed is not None
        plan[at.SEED] = router.seed or 0
    return plan


def reals_of(decoding: Decoding) -> Array:
    """(3,) scale of logits, rate of a moving average, what skipping may cost."""
    scale = getattr(decoding.readout, "scale", None)
    rate = getattr(decoding.readout, "rate", 0.0)
    skip = -1.0 if decoding.skip is None else decoding.skip
    keys = max(decoding.dims.K, 1)
    return np.array([keys**-0.5 if scale is None else scale, rate, skip])


def token_names(decoding: Decoding) -> dict[str, str]:
    """Entry of a token -> the input that it is."""
    declared = decoding.rule.inputs | decoding.readout.inputs
    found = {NAMES[name]: name for name in declared}
    if declared.get("log_decay") == "B T H K":
        found["decays"] = found.pop("decay")
    if decoding.readout.routing is not None:
        found.setdefault("u", "q")
    return found


def _form(rule: Recurrence, readout: Readout) -> int:
    if not readout.reads_cache:
        return at.ALONE
    if readout.answers_gate:
        return at.GATED
    if readout.mixes_states and not rule.linear_read:
        return at.SOUP
    return at.MIXED if readout.kind in CONSTANTS and rule.linear_read else at.EVERY


def _division(rule: Recurrence) -> int:
    if rule.kind == "mlstm":
        return at.FLOORED
    return at.PLAINLY if getattr(rule, "normalize", False) else at.UNDIVIDED


def _weights(readout: Readout) -> int:
    if isinstance(readout, MovingAverage):
        return at.UNIFORM if readout.weights == "uniform" else at.FADING
    return at.RESIDUAL if readout.kind == "residual" else at.ROUTED
