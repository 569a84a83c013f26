"""What is asked about a composition before a theorem applies to it."""

from typing import Any

from mcore.axes import make_recurrence
from mcore.recurrence import Recurrence
from mcore.testing.choices import Axis
from mcore.testing.theorems.case import Axes

GATED = ("grm", "soup", "ssc")


def options(axis: Axis) -> dict[str, Any]:
    """One axis as a dict with `kind`."""
    return {"kind": axis} if isinstance(axis, str) else dict(axis)


def rule(axes: Axes) -> Recurrence:
    """The recurrence itself."""
    return make_recurrence(axes.recurrence)


def readout(axes: Axes) -> str:
    """The kind of the readout."""
    return str(options(axes.readout)["kind"])


def is_sum(axes: Axes) -> bool:
    """Whether the memory is a plain sum of k v^T, under any feature map."""
    recurrence = options(axes.recurrence)
    return recurrence["kind"] == "linear" and not recurrence.get("normalize")


def is_random(axes: Axes) -> bool:
    """Whether checkpoints are read by lot."""
    return options(axes.readout).get("router") == "random"


def mixes_answers(axes: Axes) -> bool:
    """Whether y is the sum of the memories' answers by softmax gates."""
    return readout(axes) in ("grm", "ssc")
