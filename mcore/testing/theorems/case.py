"""A case: one composition, one list of segment lengths, one set of arrays. And how to draw some."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from hypothesis import strategies as st

from mcore.arrays import Array
from mcore.testing.choices import Axis
from mcore.testing.samples import declared_inputs, fitting, sample_inputs, sample_normal
from mcore.testing.strategies import Composition, Sizes


class Axes(NamedTuple):
    """What a kernel computes: recurrence, readout and start; its cuts come with each call."""

    recurrence: Axis
    readout: Axis
    start: str


@dataclass(frozen=True)
class Case:
    """What is asked of a kernel once. Arrays are drawn from the seed unless they are given.

    Attributes:
        axes: the composition.
        lengths: of the segments, the same for all rows.
        sizes: B, T, H, K, V; T is the sum of the lengths.
        seed: of the arrays.
        arrays: instead of those of the seed; all that the composition declares.
        d_y: instead of the gradient of y that the seed gives.
    """

    axes: Axes
    lengths: tuple[int, ...]
    sizes: Sizes
    seed: int = 0
    arrays: Mapping[str, Array] | None = None
    d_y: Array | None = None

    @property
    def composition(self) -> Composition:
        """As `mcore.memory` takes it, with these lengths."""
        cuts: Axis = {"kind": "given", "lengths": list(self.lengths)}
        recurrence, readout, start = self.axes
        return {
            "recurrence": recurrence, "segmentation": cuts, "readout": readout, "start": start,
        }  # fmt: skip

    @cached_property
    def declared(self) -> dict[str, str]:
        """Name -> axes of the inputs."""
        return declared_inputs(self.composition)

    @cached_property
    def inputs(self) -> dict[str, Array]:
        """float64 arrays (B, T, H, .) that fit in float32; parameters have no T."""
        if self.arrays is not None:
            return dict(self.arrays)
        return sample_inputs(self.composition, self.sizes, self.seed)

    @cached_property
    def dy(self) -> Array:
        """A gradient of y (B, T, H, V)."""
        if self.d_y is not None:
            return self.d_y
        B, T, H, _, V = self.sizes
        return sample_normal((B, T, H, V), self.seed + 1)

    def has_tokens(self, name: str) -> bool:
        """Whether an input has a T axis."""
        return "T" in self.declared[name].split()

    def given(self, changed: Mapping[str, Array]) -> "Case":
        """The same with some other arrays, of the same shapes."""
        return replace(self, arrays={**self.inputs, **changed})

    def cut(self, lengths: Sequence[int]) -> "Case":
        """The same arrays cut elsewhere."""
        return replace(self, arrays=self.inputs, lengths=tuple(lengths))

    def first(self, tokens: int) -> "Case":
        """The first tokens alone; the segment that they end in ends with them."""
        arrays = {
            name: array[:, :tokens] if self.has_tokens(name) else array
            for name, array in self.inputs.items()
        }
        sizes = self.sizes._replace(T=tokens)
        return replace(self, arrays=arrays, sizes=sizes, lengths=first_lengths(self, tokens))


def first_lengths(case: Case, tokens: int) -> tuple[int, ...]:
    """The lengths of the segments of the first tokens."""
    kept, left = [], tokens
    for length in case.lengths:
        if left > 0:
            kept.append(min(length, left))
        left -= length
    return tuple(kept)


class Cuts(NamedTuple):
    """Where cases are cut.

    Attributes:
        drawn: all kinds of lengths, the simplest first.
        typical: lengths that a theorem says something about; they are tried before others.
    """

    drawn: st.SearchStrategy[tuple[int, ...]]
    typical: tuple[int, ...]

    def __or__(self, other: "Cuts") -> "Cuts":
        """Those of both."""
        return Cuts(self.drawn | other.drawn, self.typical)


def _equal(count: int, length: int) -> tuple[int, ...]:
    return (length,) * count


regular = Cuts(st.builds(_equal, st.integers(1, 5), st.integers(2, 4)), (3, 3, 3, 3))
"""Segments of equal length, at least 2 tokens."""
several = Cuts(st.builds(_equal, st.integers(3, 6), st.integers(2, 4)), (3, 3, 3, 3))
"""At least 3 of them."""
long = Cuts(st.builds(_equal, st.integers(2, 4), st.sampled_from((17, 33, 40, 64))), (33, 33))
"""A few longer ones, beyond the blocks of a kernel."""
ragged = Cuts(st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple), (3, 1, 4, 2))
"""Any lengths."""
ones = Cuts(st.builds(_equal, st.integers(1, 7), st.just(1)), (1, 1, 1, 1, 1))
"""Segments of one token."""
single = Cuts(st.integers(1, 9).map(lambda tokens: (tokens,)), (7,))
"""One segment."""


def cases(axes: st.SearchStrategy[Axes], cuts: Cuts) -> st.SearchStrategy[Case]:
    """Cases up to 2 rows, 2 heads and widths of 4."""
    return st.builds(
        _case,
        axes,
        cuts.drawn,
        st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 4), st.integers(1, 4)),
        st.integers(0, 999),
    )


def typical(axes: Axes, cuts: Cuts, seed: int) -> Case:
    """A case that is no corner of anything."""
    return _case(axes, cuts.typical, (2, 2, 3, 4), seed)


def _case(axes: Axes, lengths: tuple[int, ...], widths: Sequence[int], seed: int) -> Case:
    B, H, K, V = widths
    composition = {"recurrence": axes.recurrence}
    sizes = Sizes(*fitting(composition, (B, sum(lengths), H, K, V)))
    return Case(axes, lengths, sizes, seed)
