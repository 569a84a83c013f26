"""The `sigmoid` readout in one kernel against the same readout composed of reads."""

from typing import Any

import numpy as np
import pytest
from numba_cases import DTYPES, SERIAL, two_calls

import mcore
from mcore.backend import SigmoidRead
from mcore.backends.numba_cpu import NumbaBackend
from mcore.recurrence import Recurrence
from mcore.testing.agreement import relative_error
from mcore.testing.strategies import Composition, Example, Sizes

NORMALIZED = {"kind": "linear", "feature_map": "elu1", "normalize": True}
LIMITS = {"float64": 1e-12, "float32": 2e-5}
"""The same sums in another order."""


class Composed(NumbaBackend):
    """The fast operations, one after the other."""

    def sigmoid_read(self, rule: Recurrence) -> SigmoidRead | None:
        return None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", ["independent", "checkpoint"])
@pytest.mark.parametrize("rule", ["linear", "gla", "swla"])
def test_one_kernel_equals_composed(rule: str, start: str, dtype: str) -> None:
    composition = Composition(
        recurrence=rule,
        segmentation={"kind": "constant", "length": 70},
        readout="sigmoid",
        start=start,
    )
    example = Example(composition, Sizes(2, 200, 2, 16, 20), seed=5)
    got, want = (
        two_calls(mcore.memory(**composition, backend=b, dtype=dtype), example, 150)
        for b in (SERIAL, Composed(1))
    )
    for a, b in zip(got, want, strict=True):
        assert relative_error(a, b) <= LIMITS[dtype]


@pytest.mark.parametrize(("rule", "fast"), [("gated_delta", True), (NORMALIZED, False)], ids=str)
def test_what_has_the_kernel(rule: Any, fast: bool) -> None:
    memory = mcore.memory(rule, {"kind": "constant", "length": 4}, "sigmoid", backend=SERIAL)
    assert (SERIAL.sigmoid_read(memory.rule) is not None) == fast
    assert SERIAL.sigmoid_read(mcore.memory("lstm", "none", "none").rule) is None


def test_any_number_of_threads_gives_the_same_bits() -> None:
    composition = Composition(
        recurrence="linear", segmentation={"kind": "constant", "length": 16},
        readout="sigmoid", start="independent",
    )  # fmt: skip
    example = Example(composition, Sizes(2, 200, 2, 16, 20), seed=5)
    one, two = (
        two_calls(mcore.memory(**composition, backend=NumbaBackend(n)), example, 150)
        for n in (1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
