"""The fast backend never goes token by token through a rule's own equations."""

from typing import Any, NoReturn

import pytest
from harness import maker

from mcore.axes import make_recurrence
from mcore.backend import get_backend
from mcore.recurrence import RULES
from mcore.testing.strategies import EVERY_READOUT, RECURRENCES, STARTS, Example, Sizes

SIZES = Sizes(B=2, T=9, H=2, K=2, V=2)


def refuse(*_: Any) -> NoReturn:
    raise AssertionError("a rule's own step or read was called")


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("readout", EVERY_READOUT, ids=str)
@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
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


def test_every_rule_has_a_kernel() -> None:
    fast = get_backend("numba").accelerates()
    assert {kind for kind, op in fast if op == "scan"} >= RULES.keys()
    assert {kind for kind, op in fast if op == "read"} >= RULES.keys()
