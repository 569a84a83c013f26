"""`mcore.memory` against the token-by-token oracle: y and every gradient of every combination."""

import itertools
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import pytest
from harness import BACKENDS, DTYPES, maker
from hypothesis import given
from oracle import (
    attention_oracle,
    has_attention_form,
    knows,
    oracle,
    oracle_gradients,
    selection_gap,
)
from tolerances import tolerance

from mcore.arrays import Array
from mcore.axes import make_recurrence
from mcore.testing import strategies
from mcore.testing.agreement import answer, assert_agree
from mcore.testing.samples import RULE_INPUTS
from mcore.testing.strategies import (
    DETACHED,
    READOUTS,
    STARTS,
    VARIANTS,
    Axis,
    Example,
    Sizes,
    examples,
    takes,
)

RECURRENCES = [r for r in strategies.RECURRENCES if knows(make_recurrence(r).kind)]
"""Those whose equations somebody else has written down as well."""

ROW = Sizes(B=1, T=11, H=2, K=3, V=2)
ROWS = Sizes(B=2, T=7, H=2, K=2, V=3)
SEGMENTED: tuple[tuple[Axis, Sizes], ...] = (
    ({"kind": "constant", "length": 4}, ROW),
    ("logarithmic", ROW),
    ({"kind": "given", "lengths": [[3, 1, 2, 1], [2, 5]]}, ROWS),
)
SPECIAL: tuple[tuple[Axis, Sizes], ...] = (
    ("none", ROW._replace(T=5)),
    ("none", Sizes(B=2, T=1, H=1, K=1, V=1)),
    ("logarithmic", ROW._replace(T=1)),
    ({"kind": "constant", "length": 1}, ROWS._replace(T=4)),
    ({"kind": "constant", "length": 3}, ROWS._replace(T=6)),
    ({"kind": "constant", "length": 9}, ROW._replace(T=2)),
    ({"kind": "given", "lengths": [2, 4, 1]}, ROWS),
)


LONG: tuple[tuple[Axis, Sizes], ...] = (
    ({"kind": "constant", "length": 70}, Sizes(B=1, T=150, H=1, K=17, V=9)),
    ({"kind": "constant", "length": 64}, Sizes(B=1, T=128, H=1, K=16, V=32)),
    ({"kind": "given", "lengths": [[1, 33, 63], [97]]}, Sizes(B=2, T=97, H=1, K=5, V=33)),
)


SLOW = {i for i, rule in enumerate(RECURRENCES) if make_recurrence(rule).family == "deep"}
"""Whose oracle differentiates an inner loss at each token."""


CHOICES = (*READOUTS, *VARIANTS, *DETACHED)
"""Readouts, first those that are paired with everything."""


class Case(NamedTuple):
    """A composition by its places in the tables above, so that it can be a key."""

    recurrence: int
    readout: int
    start: str
    cuts: int

    def example(self) -> Example:
        """Arrays and composition; the seed differs from one rule and readout to another."""
        segmentation, sizes = (SEGMENTED + SPECIAL + LONG)[self.cuts]
        return Example(
            {
                "recurrence": RECURRENCES[self.recurrence],
                "segmentation": segmentation,
                "readout": CHOICES[self.readout],
                "start": self.start,
            },
            sizes,
            seed=10 * self.recurrence + self.readout,
        )

    def __str__(self) -> str:
        axes = self.example().composition.values()
        return "-".join(str(axis) for axis in axes).replace("'", "")


def cases() -> Iterator[Case]:
    """Everything with everything on three cuts; on the odd cuts one readout each, in turn.

    Slow rules, and the readout that asks every memory by itself, take the three cuts in turn too.
    """
    everything = (range(len(RECURRENCES)), range(len(READOUTS)), STARTS)
    for recurrence, readout, start in itertools.product(*everything):
        turn = recurrence + readout + STARTS.index(start)
        brief = recurrence in SLOW or READOUTS[readout] == "sigmoid"
        for cuts in [turn % len(SEGMENTED)] if brief else range(len(SEGMENTED)):
            yield Case(recurrence, readout, start, cuts)
        if recurrence not in SLOW or turn % 2:
            odd = len(SEGMENTED) + (recurrence + readout) % len(SPECIAL)
            yield Case(recurrence, readout, start, odd)


def variant_cases() -> Iterator[Case]:
    """Every rule with a third of the readouts' options, cuts and starts in turn."""
    for recurrence, variant in itertools.product(range(len(RECURRENCES)), range(len(CHOICES))):
        turn, rest = divmod(recurrence + variant, 3)
        chosen = variant >= len(READOUTS) and rest == 0
        if chosen and takes(RECURRENCES[recurrence], CHOICES[variant]):
            yield Case(recurrence, variant, STARTS[turn % 2], turn % len(SEGMENTED))


def long_cases() -> Iterator[Case]:
    """Segments and widths beyond a kernel's tiles: every rule on each, the readouts in turn."""
    for recurrence, cuts in itertools.product(range(len(RECURRENCES)), range(len(LONG))):
        if recurrence in SLOW and cuts != recurrence % len(LONG):
            continue
        readout, start = (recurrence + 2 * cuts) % len(READOUTS), STARTS[(recurrence + cuts) % 2]
        yield Case(recurrence, readout, start, len(SEGMENTED) + len(SPECIAL) + cuts)


ALL_CASES = [*cases(), *variant_cases(), *long_cases()]


@cache
def wanted(case: Case) -> tuple[Array, dict[str, Array]]:
    """The oracle's y and gradients, made once for all backends and dtypes."""
    example = case.example()
    y = oracle(example.inputs, example.composition)
    return y, oracle_gradients(example.inputs, example.composition, example.dy)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ALL_CASES, ids=str)
def test_oracle(case: Case, backend: str, dtype: str) -> None:
    example = case.example()
    memory = maker(backend, dtype)(example.composition)
    inputs = {name: array.astype(dtype) for name, array in example.inputs.items()}
    y, saved = memory.forward(inputs)
    want_y, want_gradients = wanted(case)
    assert_agree(y, want_y, tolerance(dtype, "forward"), "y")
    gradients = memory.backward(saved, example.dy.astype(dtype))
    assert gradients.pop("state", None) is None
    assert set(gradients) == set(want_gradients)
    for name, gradient in gradients.items():
        assert gradient.dtype == dtype, name
        assert_agree(gradient, want_gradients[name], tolerance(dtype, "backward"), name)


@pytest.mark.parametrize("kind", RULE_INPUTS)
def test_every_rule_of_the_library_has_a_second_opinion(kind: str) -> None:
    assert knows(kind)


@pytest.mark.parametrize("case", [c for c in ALL_CASES if "ssc" in str(c)], ids=str)
def test_selection_is_clear_of_ties(case: Case) -> None:
    """Where it is not, float32 may rightly select another memory than the oracle."""
    example = case.example()
    assert selection_gap(example.inputs, example.composition) > 1e-4


@pytest.mark.parametrize("case", ALL_CASES, ids=str)
def test_the_oracle_has_a_second_witness(case: Case) -> None:
    """Where the composition is a matrix of attention, both oracles say the same."""
    example = case.example()
    if not has_attention_form(example.composition):
        return
    y = attention_oracle(example.inputs, example.composition)
    assert_agree(y, wanted(case)[0], 1e-12, "y")


@pytest.mark.parametrize("backend", BACKENDS)
@given(example=examples(RECURRENCES, CHOICES))
def test_oracle_on_random_examples(backend: str, example: Example) -> None:
    want = oracle(example.inputs, example.composition)
    gradients = oracle_gradients(example.inputs, example.composition, example.dy)
    got = answer(maker(backend)(example.composition), example)
    assert_agree(got["y"], want, tolerance("float64", "forward"), "y")
    for name, gradient in gradients.items():
        assert_agree(got[name], gradient, tolerance("float64", "backward"), name)
