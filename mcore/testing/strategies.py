"""Hypothesis strategies for memories: what to build, how big, with which numbers, cut where.

An `Example` prints as a composition, five sizes and a seed, and makes its arrays from them, so
that a failure can be pasted into a terminal:

    from mcore.testing import strategies

    @given(strategies.examples())
    def test_my_backend(example):
        memory = mcore.memory(**example.composition, backend="mine", dtype="float64")
        y, saved = memory.forward(example.inputs)

All numbers fit in float32, so that a float32 and a float64 memory see the same inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, NotRequired, TypedDict

from hypothesis import strategies as st

from mcore.arrays import Array
from mcore.testing.choices import (
    DETACHED,
    EVERY_READOUT,
    OPTIONS,
    ORDERED_READOUTS,
    READOUTS,
    RECURRENCES,
    STARTS,
    VARIANTS,
    Axis,
    takes,
)
from mcore.testing.samples import declared_inputs, fitting, sample_inputs, sample_normal

__all__ = [
    "DETACHED",
    "EVERY_READOUT",
    "OPTIONS",
    "ORDERED_READOUTS",
    "READOUTS",
    "RECURRENCES",
    "STARTS",
    "VARIANTS",
    "Axis",
    "Composition",
    "Example",
    "Sizes",
    "cut_inputs",
    "examples",
    "segmentations",
    "sizes",
    "splits",
    "streamable_segmentations",
    "takes",
]


class Composition(TypedDict):
    """The axes of a memory, as `mcore.memory` takes them."""

    recurrence: Axis
    segmentation: Axis
    readout: Axis
    start: str
    cache: NotRequired[dict[str, Any]]


class Sizes(NamedTuple):
    """Batch, tokens, heads, key and value width."""

    B: int
    T: int
    H: int
    K: int
    V: int


@dataclass(frozen=True)
class Example:
    """A composition with sizes and a seed; the arrays follow from them.

    Sizes that the rule cannot take are made to fit.
    """

    composition: Composition
    sizes: Sizes
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", Sizes(*fitting(self.composition, self.sizes)))

    @cached_property
    def declared(self) -> dict[str, str]:
        """Name -> axes of the inputs that the composition needs."""
        return declared_inputs(self.composition)

    @cached_property
    def inputs(self) -> dict[str, Array]:
        """One array for every declared name."""
        return sample_inputs(self.composition, self.sizes, self.seed)

    @cached_property
    def dy(self) -> Array:
        """A gradient of y (B, T, H, V)."""
        B, T, H, _, V = self.sizes
        return sample_normal((B, T, H, V), self.seed + 1)

    def pieces(self, lengths: Sequence[int]) -> list[dict[str, Array]]:
        """The inputs cut along T into pieces of these lengths; parameters stay whole."""
        cuts = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
        return [
            cut_inputs(self.inputs, self.declared, slice(start, stop))
            for start, stop in pairwise(cuts)
        ]


def cut_inputs(
    inputs: Mapping[str, Array], declared: Mapping[str, str], tokens: slice
) -> dict[str, Array]:
    """The chosen tokens of all inputs that have a T axis."""
    return {
        name: array[:, tokens] if "T" in declared[name].split() else array
        for name, array in inputs.items()
    }


def splits(tokens: int) -> st.SearchStrategy[list[int]]:
    """Positive lengths that sum to `tokens`."""

    def lengths(cuts: set[int]) -> list[int]:
        borders = [0, *sorted(cuts), tokens]
        return [after - before for before, after in pairwise(borders)]

    if tokens == 1:
        return st.just([1])
    return st.sets(st.integers(1, tokens - 1)).map(lengths)


def segmentations(sizes: Sizes) -> st.SearchStrategy[Axis]:
    """Every kind of segmentation; some segments longer than the sequence, some of one token."""
    return st.one_of(
        streamable_segmentations(sizes),
        st.just("logarithmic"),
        splits(sizes.T).map(_given),
        st.lists(splits(sizes.T), min_size=sizes.B, max_size=sizes.B).map(_given),
    )


def streamable_segmentations(sizes: Sizes) -> st.SearchStrategy[Axis]:
    """Segmentations whose cuts do not depend on the total length."""
    constant = st.integers(1, sizes.T + 1).map(_constant)
    return st.one_of(st.just("none"), constant)


def _constant(length: int) -> Axis:
    return {"kind": "constant", "length": length}


def _given(lengths: list[Any]) -> Axis:
    return {"kind": "given", "lengths": lengths}


def sizes(tokens: int = 9, width: int = 4, least_tokens: int = 1) -> st.SearchStrategy[Sizes]:
    """Up to 2 rows, 2 heads, `tokens` tokens and key and value widths of `width`."""
    pair, length, axis = (
        st.integers(least, most) for least, most in ((1, 2), (least_tokens, tokens), (1, width))
    )
    return st.builds(Sizes, pair, length, pair, axis, axis)


@st.composite
def examples(
    draw: st.DrawFn,
    recurrences: Sequence[Axis] = RECURRENCES,
    readouts: Sequence[Axis] = (*EVERY_READOUT, *VARIANTS),
    starts: Sequence[str] = STARTS,
    streamable: bool = False,
    shapes: st.SearchStrategy[Sizes] | None = None,
) -> Example:
    """Examples over the given axes; `streamable` keeps to segmentations that `step` accepts."""
    drawn = draw(sizes() if shapes is None else shapes)
    cuts = streamable_segmentations(drawn) if streamable else segmentations(drawn)
    recurrence = draw(st.sampled_from(recurrences))
    composition: Composition = {
        "recurrence": recurrence,
        "segmentation": draw(cuts),
        "readout": draw(st.sampled_from([r for r in readouts if takes(recurrence, r)])),
        "start": draw(st.sampled_from(starts)),
    }
    return Example(composition, drawn, draw(st.integers(0, 2**16)))
