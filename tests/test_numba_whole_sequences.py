"""The fast backend never goes token by token through a rule's own equations."""

from typing import Any, NoReturn

import pytest
from harness import maker
from oracle import knows

from mcore.axes import make_recurrence
from mcore.backend import get_backend
from mcore.recurrence import RULES
from mcore.testing.strategies import EVERY_READOUT, RECURRENCES, STARTS, Example, Sizes

FAST = get_backend("numba").accelerates()
KERNELS = [rule for rule in RECURRENCES if (make_recurrence(rule).kind, "scan") in FAST]
SIZES = Sizes(B=2, T=9, H=2, K=2, V=2)


def refuse(*_: Any) -> NoReturn:
    raise AssertionError("a rule's own step or read was called")


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("readout", EVERY_READOUT, ids=str)
@pytest.mark.parametrize("recurrence", KERNELS, ids=str)
def test_no_step_in_python(
    recurrence: Any, readout: Any, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    composition: Any = {
        "recurrence": recurrence,
        "segmentation": {"kind": "constant", "length": 4},
        "readout": readout,
        "start": start,
    }
    example = Example(composition, SIZES, seed=0)
    rule = type(make_recurrence(recurrence))
    for name in ("step", "step_backward", "read", "read_backward"):
        monkeypatch.setattr(rule, name, refuse)
    memory = maker("numba")(composition)
    y, saved = memory.forward(example.inputs)
    memory.backward(saved, example.dy.astype(y.dtype))


def test_every_rule_of_the_library_has_kernels() -> None:
    """Those that the oracle knows; a rule may be added to the table before its kernels are."""
    ours = {kind for kind in RULES if knows(kind)}
    for op in ("scan", "read"):
        assert {kind for kind, each in FAST if each == op} >= ours
