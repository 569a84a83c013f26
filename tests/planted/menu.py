"""The correct kernels, by composition."""

from typing import Any

from planted.borders import CHECKPOINT, INDEPENDENT
from planted.kernel import Kernel
from planted.mixing import AVERAGE, NONE, RESIDUAL, SIGMOID, SOUP
from planted.pieces import Mixing, Routing, Rule
from planted.routing import routing
from planted.rules.deep import DLA, TITANS
from planted.rules.delta import DELTA, GATED_DELTA
from planted.rules.matrix import GATED_LINEAR, GLA, LINEAR
from planted.rules.mlstm import MLSTM
from planted.rules.vector import GRU, LSTM

RULES: dict[str, Rule] = {
    "linear": LINEAR,
    "gated_linear": GATED_LINEAR,
    "gla": GLA,
    "delta": DELTA,
    "gated_delta": GATED_DELTA,
    "mlstm": MLSTM,
    "dla": DLA,
    "titans": TITANS,
    "lstm": LSTM,
    "gru": GRU,
}
READOUTS: dict[str, tuple[Any, Mixing, Routing | None]] = {
    "none": ("none", NONE, None),
    "residual": ("residual", RESIDUAL, None),
    "moving_average": ("moving_average", AVERAGE, None),
    "sigmoid": ("sigmoid", SIGMOID, None),
    "grm": ("grm", RESIDUAL, routing()),
    "soup": ("soup", SOUP, routing()),
    "ssc": ({"kind": "ssc", "top_k": 2}, RESIDUAL, routing(top_k=2)),
}
BORDERS = {"independent": INDEPENDENT, "checkpoint": CHECKPOINT}


def kernel(recurrence: str, readout: str, start: str = "independent") -> Kernel:
    """The correct kernel of a composition, as `ssc` with the two best checkpoints."""
    axis, mixing, gates = READOUTS[readout]
    return Kernel(recurrence, axis, start, RULES[recurrence], BORDERS[start], mixing, gates)
