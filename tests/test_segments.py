"""Cuts as integers: borders, restarts, what is visible, and what a state keeps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mcore
from mcore.cache import keep, keep_backward, kept
from mcore.cutting import cut
from mcore.segmentation import Constant, Given, Logarithmic, NoSegmentation, Segmentation
from mcore.segments import Progress, fresh


def lengths(segmentation: Segmentation, tokens: int) -> list[int]:
    bounds = cut(segmentation, False, tokens, fresh(1)).bounds[0]
    return [int(n) for n in np.diff(bounds)]


def test_logarithmic_37() -> None:
    assert lengths(Logarithmic(), 37) == [32, 4, 1]


@given(st.integers(1, 5000))
def test_logarithmic_is_the_binary_expansion(tokens: int) -> None:
    found = lengths(Logarithmic(), tokens)
    assert sum(found) == tokens
    assert found == sorted(set(found), reverse=True)
    assert all(n & (n - 1) == 0 for n in found)


@given(st.integers(1, 40), st.integers(1, 9))
def test_constant_segments_but_for_the_last(tokens: int, length: int) -> None:
    found = lengths(Constant(length), tokens)
    assert sum(found) == tokens
    assert all(n == length for n in found[:-1])
    assert 1 <= found[-1] <= length


def test_no_segmentation_is_one_segment() -> None:
    assert lengths(NoSegmentation(), 9) == [9]


def test_rows_may_be_cut_differently() -> None:
    segments = cut(Given.of([[2, 3], [1, 1, 3]]), False, 5, fresh(2))
    assert segments.bounds.tolist() == [[0, 2, 5, 5], [0, 1, 2, 5]]
    assert segments.index.tolist() == [[0, 0, 1, 1, 1], [0, 1, 2, 2, 2]]
    assert segments.closed.tolist() == [2, 3]
    assert segments.final.tolist() == [1, 2]
    assert segments.visible[0].sum(axis=-1).tolist() == [0, 0, 1, 1, 1]
    assert segments.visible[1].sum(axis=-1).tolist() == [0, 1, 2, 2, 2]


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5))
def test_cuts_of_two_pieces_are_cuts_of_the_whole(first: int, second: int, length: int) -> None:
    segmentation = Constant(length)
    whole = cut(segmentation, False, first + second, fresh(1))
    borders = set(whole.bounds[0, 1:-1].tolist())
    progress = Progress(
        np.array([first]), np.array([first % length]), np.array([first // length]), first // length
    )
    piece = cut(segmentation, False, second, progress)
    begin = {first} if first % length == 0 else set()
    assert borders == {
        *cut(segmentation, False, first, fresh(1)).bounds[0, 1:-1].tolist(),
        *(first + piece.bounds[0, 1:-1]).tolist(),
        *begin,
    }
    assert piece.restart[0, 0] == (first % length == 0)


@pytest.mark.parametrize("carries", [False, True])
def test_restarts_follow_the_start_mode(carries: bool) -> None:
    assert cut(Constant(2), carries, 5, fresh(1)).restart.tolist() == [[True, *[not carries] * 2]]


def test_positions_count_from_the_segments_start() -> None:
    """Rows that are 0 and 2 tokens into segments of 3; the count goes on from an earlier call."""
    begun = Progress(np.array([3, 5]), np.array([0, 2]), np.array([1, 1]), 1)
    found = cut(Constant(3), True, 5, begun).position
    np.testing.assert_array_equal(found, [[0, 1, 2, 0, 1], [2, 0, 1, 2, 0]])


def test_keep_is_undone_by_its_backward() -> None:
    segments = cut(Given.of([[2, 3], [1, 1, 3]]), False, 5, fresh(2))
    columns = kept(segments, None)
    assert columns.tolist() == [[-1, 0, 1], [0, 1, 2]]
    rng = np.random.default_rng(0)
    joined, weights = rng.random((2, 3, 1, 2)), rng.random((2, 3, 1, 2))
    direct = (keep(joined, columns) * weights).sum()
    gradient = keep_backward(weights, columns, np.zeros_like(joined))
    assert (gradient * joined).sum() == pytest.approx(direct)


def test_lengths_below_one_are_refused() -> None:
    with pytest.raises(mcore.SpecError, match="1 or more"):
        Given.of([3, 0])
    with pytest.raises(mcore.SpecError, match="1 or more"):
        Constant(0)
