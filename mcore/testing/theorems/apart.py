"""What is computed together equals what is computed apart: prefixes, rows, heads, documents."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mcore.arrays import Array
from mcore.testing import packing, streaming
from mcore.testing.strategies import Example
from mcore.testing.theorems.about import is_random, options, readout
from mcore.testing.theorems.case import Axes, Case, regular, several
from mcore.testing.theorems.subject import Subject, forward, tolerances
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import Violation, meet


def split(subject: Subject, case: Case) -> float:
    """The first tokens alone, whether or not their last segment is whole, give what they give in
    front of others; and a memory that is fed in pieces gives what it gives at once."""
    tolerance, whole = tolerances(subject).y, forward(subject, case)
    T, length = case.sizes.T, case.lengths[0]
    worst = 0.0
    for tokens in sorted({min(length, T), max(1, T - 1), 1 + case.seed % T}):
        what = f"y of the first {tokens} tokens alone, beside the same tokens in front of others"
        got = forward(subject, case.first(tokens))
        worst = max(worst, meet(got, whole[:, :tokens], tolerance, what))
    if readout(case.axes) == "none" and case.axes.start == "independent":
        worst = max(worst, _segments_alone(subject, case, whole))
    if _unseen_cuts(case.axes):
        what = f"y cut into {list(case.lengths)}, of which no cut can be seen, beside y uncut"
        worst = max(worst, meet(whole, forward(subject, case.cut([T])), tolerance, what))
    if "stream" not in subject.lacks:
        _stream(subject, case)
    return worst


def _unseen_cuts(axes: Axes) -> bool:
    """Whether all is carried over a border and nothing is read from the cache."""
    carried = axes.start == "checkpoint" and options(axes.recurrence).get("chunk", 1) == 1
    return readout(axes) == "none" and carried


def _segments_alone(subject: Subject, case: Case, whole: Array) -> float:
    """Nothing is read from other segments, so each of equal length may come first."""
    length, worst = case.lengths[0], 0.0
    for begin in range(0, case.sizes.T, length):
        tokens = {
            name: np.roll(array, -begin, axis=1) if case.has_tokens(name) else array
            for name, array in case.inputs.items()
        }
        got = forward(subject, case.given(tokens).first(length))
        what = f"y of the segment from token {begin} on, alone"
        worst = max(worst, meet(got, whole[:, begin : begin + length], tolerances(subject).y, what))
    return worst


def _stream(subject: Subject, case: Case) -> None:
    """`step`, continued forwards and live streams; the pieces do not end where segments do."""
    example = _example(case)
    T = case.sizes.T
    pieces = [1, *[2] * ((T - 1) // 2), *[1] * ((T - 1) % 2)] if T > 1 else [1]
    _checked(
        lambda: streaming.stream_equals_batch(subject.make, example, pieces, tolerances(subject).y)
    )
    _checked(
        lambda: streaming.live_stream_equals_batch(
            subject.make, example, pieces, tolerances(subject).y
        )
    )


def packed(subject: Subject, case: Case) -> float:
    """Each row, and each head of it, gets what it gets alone; so do documents packed in a row."""
    y, worst = forward(subject, case), 0.0
    heads = range(1 if is_random(case.axes) else case.sizes.H)
    for b, h in ((b, h) for b in range(case.sizes.B) for h in heads):
        got = forward(subject, _alone(case, b, h))
        what = f"y of row {b} head {h} alone, beside the same in a batch"
        wanted = y[b : b + 1, :, h : h + 1]
        worst = max(worst, meet(got, wanted, tolerances(subject).y, what))
    if "documents" not in subject.lacks:
        rng = np.random.default_rng(case.seed)
        ids = np.cumsum(rng.random((case.sizes.B, case.sizes.T)) < 0.3, axis=1)
        example, tolerance = _example(case), tolerances(subject).y
        _checked(lambda: packing.packed_equals_separate(subject.make, example, ids, tolerance))
    return worst


def _alone(case: Case, b: int, h: int) -> Case:
    picks = {"B": slice(b, b + 1), "H": slice(h, h + 1)}
    arrays = {
        name: array[tuple(picks.get(letter, slice(None)) for letter in case.declared[name].split())]
        for name, array in case.inputs.items()
    }
    return replace(case, arrays=arrays, sizes=case.sizes._replace(B=1, H=1))


def permutation(subject: Subject, case: Case) -> float:
    """The last segment's answers do not see the order of the segments before it."""
    y, length = forward(subject, case), case.lengths[0]
    count = len(case.lengths) - 1
    order = [*np.random.default_rng(case.seed).permutation(count).tolist(), count]
    if order[:-1] == list(range(count)):
        order = [*range(count - 1, -1, -1), count]
    tokens = np.concatenate([np.arange(length) + length * i for i in order])
    moved = {
        name: array[:, tokens] if case.has_tokens(name) else array
        for name, array in case.inputs.items()
    }
    last = slice(length * count, None)
    got = forward(subject, case.given(moved))[:, last]
    what = f"y of the last segment with the segments in the order {order}"
    return meet(got, y[:, last], tolerances(subject).y, what)


def _example(case: Case) -> Example:
    """As the checks of memories take it."""
    cuts = {"kind": "constant", "length": case.lengths[0]}
    composition = case.composition
    composition["segmentation"] = cuts
    example = Example(composition, case.sizes, case.seed)
    vars(example)["inputs"] = case.inputs
    return example


def _checked(check: Callable[[], None]) -> None:
    try:
        check()
    except Violation:
        raise
    except AssertionError as error:
        raise Violation(str(error)) from None


def _orderless(axes: Axes) -> str | None:
    if axes.start != "independent":
        return "about start independent"
    if readout(axes) == "none":
        return "about readouts that read the cache"
    if is_random(axes) or options(axes.readout).get("weights") == "ema":
        return "about readouts that do not go by position"
    return None


SPLIT = Theorem(
    "split",
    "the first tokens alone, or a stream in pieces, give what the whole gives",
    regular,
    split,
)
PACKED = Theorem(
    "packed",
    "rows of a batch, heads, and documents in a row give what each gives alone",
    regular,
    packed,
)
PERMUTATION = Theorem(
    "permutation",
    "the order of cached segments does not matter",
    several,
    permutation,
    _orderless,
)
