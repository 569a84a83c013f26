"""What the tests choose from on each axis of a memory."""

from typing import Any

from mcore.axes import make_recurrence
from mcore.recurrence import RULES

Axis = str | dict[str, Any]

OPTIONS: dict[str, tuple[Axis, ...]] = {
    "linear": (
        {"kind": "linear", "feature_map": "elu1"},
        {"kind": "linear", "feature_map": "elu1", "normalize": True},
        {"kind": "linear", "feature_map": "identity", "normalize": True},
    ),
    "titans": ({"kind": "titans", "chunk": 3},),
    "yaad": ({"kind": "yaad", "chunk": 2},),
}
"""Rules with other than their usual options."""
RECURRENCES: tuple[Axis, ...] = tuple(
    choice for kind in RULES for choice in (kind, *OPTIONS.get(kind, ()))
)
"""Every rule there is: one that is added to the table is tested."""
READOUTS: tuple[Axis, ...] = (
    "none",
    "residual",
    "grm",
    "soup",
    {"kind": "ssc", "top_k": 1},
    {"kind": "ssc", "top_k": 2},
    {"kind": "moving_average", "weights": "uniform"},
    "sigmoid",
)
ORDERED_READOUTS: tuple[Axis, ...] = ({"kind": "moving_average", "weights": "ema", "rate": 0.5},)
EVERY_READOUT = (*READOUTS, *ORDERED_READOUTS)
VARIANTS: tuple[Axis, ...] = (
    {"kind": "grm", "pool": "sum"},
    {"kind": "soup", "u": "shared", "scale": 1.0},
    {"kind": "ssc", "top_k": 1, "temperature": True, "pool": "sum", "scale": 0.4},
    {"kind": "grm", "online": "outside", "temperature": True},
    {"kind": "ssc", "top_k": 2, "router": "random", "seed": 3},
    {"kind": "soup", "online": "outside", "pool": "sum"},
    {"kind": "grm", "u": "shared", "temperature": True, "scale": 0.7},
    {"kind": "ssc", "top_k": 1, "router": "random", "online": "outside"},
)
"""Readouts with other than their usual options."""
DETACHED: tuple[Axis, ...] = (
    {"kind": "grm", "detach": True},
    {"kind": "soup", "detach": True, "online": "outside"},
    {"kind": "ssc", "top_k": 1, "router": "random", "detach": True, "pool": "sum"},
)
"""Readouts whose backward is, on purpose, not the derivative of their forward."""
STARTS = ("independent", "checkpoint")


def takes(recurrence: Axis, readout: Axis) -> bool:
    """Whether a rule has what the readout needs: one without a query cannot share it."""
    shares = isinstance(readout, dict) and readout.get("u") == "shared"
    return not shares or "q" in make_recurrence(recurrence).inputs
