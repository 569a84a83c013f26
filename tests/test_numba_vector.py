"""Vector memories in the fast kernels: rows of a block with cuts of their own, panels, bits."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from numba_cases import DTYPES, FAST, REFERENCE, SERIAL, Case, assert_same, double, rule_inputs

from mcore.axes import make_recurrence, make_segmentation
from mcore.cutting import cut
from mcore.segments import Progress, Segments

RULES = ("lstm", "gru", "slstm")


class Problem(NamedTuple):
    """Arguments of a scan and of its backward."""

    rule: Any
    inputs: Any
    carry: Any
    segments: Segments
    d: tuple[Any, Any]

    def run(self, backend: Any) -> dict[str, Any]:
        """Everything a scan and its backward return, by name."""
        scan, saved = backend.scan(self.rule, self.inputs, self.carry, self.segments)
        d_inputs, d_carry = backend.scan_backward(saved, *self.d)
        return {**scan._asdict(), **{f"d_{n}": x for n, x in d_inputs.items()}, "d_carry": d_carry}

    def double(self) -> "Problem":
        """In float64."""
        inputs, carry, d = (double(part) for part in (self.inputs, self.carry, self.d))
        return self._replace(inputs=inputs, carry=carry, d=d)


def problem(kind: str, sizes: tuple[int, int, int, int], dtype: str) -> Problem:
    """Rows of which each is cut elsewhere; all go on from a state, half in the middle of a segment.

    sizes: rows, tokens, heads, V.
    """
    rows, tokens, heads, width = sizes
    rng = np.random.default_rng(0)
    lengths = [_lengths(rng, tokens + 1) for _ in range(rows)]
    given = make_segmentation({"kind": "given", "lengths": lengths})
    position = np.arange(rows) % 2
    progress = Progress(position, position, np.zeros(rows, np.int64), 0)
    segments = cut(given, kind != "gru", tokens, progress)
    rule = make_recurrence(kind)
    inputs = rule_inputs(rule, Case(rows, tokens, heads, 1, width, "none"), dtype, rng)
    size = int(np.prod(rule.state_shape(rule.dims(inputs))))
    shapes = (rows, heads, size), (rows, tokens, heads, width), (rows, segments.count, heads, size)
    carry, d_reads, d_checkpoints = (rng.random(shape).astype(dtype) for shape in shapes)
    return Problem(rule, inputs, 0.5 + carry, segments, (d_reads, d_checkpoints))


def _lengths(rng: np.random.Generator, tokens: int) -> list[int]:
    ends = np.flatnonzero(rng.random(tokens - 1) < 0.2) + 1
    lengths: list[int] = np.diff([0, *ends, tokens]).tolist()
    return lengths


SIZES = {
    "part of a panel": (5, 9, 2, 3),
    "panels and a part": (3, 17, 1, 70),
    "blocks of unequal size": (19, 6, 2, 33),
    "too few tokens to pack": (2, 2, 1, 66),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("kind", RULES)
def test_rows_of_a_block_have_cuts_of_their_own(kind: str, sizes: Any, dtype: str) -> None:
    given = problem(kind, sizes, dtype)
    got, want = given.run(FAST), given.double().run(REFERENCE)
    for name, x in want.items():
        assert_same(got[name], x, dtype, name)


@pytest.mark.parametrize("kind", RULES)
def test_bits_of_cut_rows_do_not_depend_on_threads(kind: str) -> None:
    given = problem(kind, (19, 40, 2, 33), "float32")
    one, more = given.run(SERIAL), given.run(FAST)
    for name, x in one.items():
        np.testing.assert_array_equal(more[name], x, err_msg=name)


@pytest.mark.parametrize("kind", RULES)
def test_backward_may_run_again(kind: str) -> None:
    """What forward keeps stays as it is, and so does what a caller makes of the answers."""
    given = problem(kind, (3, 17, 1, 8), "float64")
    scan, saved = FAST.scan(given.rule, given.inputs, given.carry, given.segments)
    first = FAST.scan_backward(saved, *given.d)
    scan.reads[:], scan.checkpoints[:] = np.nan, np.nan
    again = FAST.scan_backward(saved, *given.d)
    for name, x in first[0].items():
        np.testing.assert_array_equal(again[0][name], x)
    np.testing.assert_array_equal(again[1], first[1])
