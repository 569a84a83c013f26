"""What must hold for every memory, whoever computes it: theorems as plain functions.

Each takes `make`, which builds a memory from a composition, an `Example` from
`mcore.testing.strategies` and the largest allowed relative error, and raises AssertionError:

    make = lambda composition: mcore.memory(**composition, backend="mine", dtype="float64")

    @given(strategies.examples())
    def test_causality(example):
        properties.causality(make, example)

Sources: Behrouz et al. 2026, sections 3 and 4; the acceptance tests of the same equations.
"""

from collections.abc import Sequence

import numpy as np

from mcore.arrays import Array
from mcore.testing.agreement import Make, answer, assert_agree, change, output
from mcore.testing.gradcheck import check_inputs
from mcore.testing.samples import axis, sample_normal
from mcore.testing.strategies import Axis, Example


def one_segment_equals_base(make: Make, example: Example, tolerance: float) -> None:
    """With one segment the gate is 1: every readout gives the base recurrence (section 4.1)."""
    whole = change(example.composition, "segmentation", "none")
    base = output(make, change(whole, "readout", "none"), example.inputs)
    assert_agree(output(make, whole, example.inputs), base, tolerance, "one segment")
    longer: Axis = {"kind": "constant", "length": example.sizes.T + 1}
    y = output(make, change(whole, "segmentation", longer), example.inputs)
    assert_agree(y, base, tolerance, "a segment longer than the sequence")


def same_readout(make: Make, example: Example, readout: Axis, tolerance: float) -> None:
    """Another readout gives the same y and gradients: soup = grm for reads linear in the memory
    (section 3.3), ssc with top_k at least the number of cached memories = grm (section 3.4)."""
    other = change(example.composition, "readout", readout)
    want, got = (answer(make(composition), example) for composition in (example.composition, other))
    for name, array in want.items():
        assert_agree(got[name], array, tolerance, name)


def causality(make: Make, example: Example, token: int) -> None:
    """Changing tokens from `token` on changes no earlier output, to the last bit."""
    memory = make(example.composition)
    changed = {
        name: _replace_tokens(array, example, token) if "T" in example.declared[name] else array
        for name, array in example.inputs.items()
    }
    before, after = (memory.forward(inputs)[0] for inputs in (example.inputs, changed))
    assert np.array_equal(before[:, :token], after[:, :token]), "an output saw the future"


def _replace_tokens(array: Array, example: Example, token: int) -> Array:
    replaced = array.copy()
    replaced[:, token:] = -np.abs(sample_normal(array[:, token:].shape, example.seed + 2))
    return replaced


def cached_segments_may_be_permuted(
    make: Make, example: Example, order: Sequence[int], tolerance: float
) -> None:
    """With independent segments, the last one's outputs do not see the order of the others."""
    assert example.composition["start"] == "independent"
    lengths = axis(example.composition, "segmentation")["lengths"]
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    order = [*order, len(lengths) - 1]
    tokens = np.concatenate([np.arange(starts[i], starts[i] + lengths[i]) for i in order])
    moved: Axis = {"kind": "given", "lengths": [lengths[i] for i in order]}
    inputs = {
        name: array[:, tokens] if "T" in example.declared[name].split() else array
        for name, array in example.inputs.items()
    }
    y = output(make, example.composition, example.inputs)
    permuted = output(make, change(example.composition, "segmentation", moved), inputs)
    last = slice(starts[-1], None)
    assert_agree(permuted[:, last], y[:, last], tolerance, "last segment")


def rows_and_heads_are_independent(make: Make, example: Example, tolerance: float) -> None:
    """A batch gives each row, and each head of it, what it would get alone.

    A random router draws other lots for other heads, so that only the first one is asked.
    """
    y = output(make, example.composition, example.inputs)
    random = axis(example.composition, "readout").get("router") == "random"
    for b, h in np.ndindex(example.sizes.B, 1 if random else example.sizes.H):
        alone = {
            name: _one_row_and_head(array, example.declared[name].split(), b, h)
            for name, array in example.inputs.items()
        }
        composition = change(example.composition, "segmentation", _row_cuts(example, b))
        wanted = y[b : b + 1, :, h : h + 1]
        assert_agree(output(make, composition, alone), wanted, tolerance, f"row {b} head {h}")


def _one_row_and_head(array: Array, axes: list[str], b: int, h: int) -> Array:
    picks = {"B": slice(b, b + 1), "H": slice(h, h + 1)}
    return array[tuple(picks.get(letter, slice(None)) for letter in axes)]


def _row_cuts(example: Example, b: int) -> Axis:
    segmentation = axis(example.composition, "segmentation")
    if segmentation["kind"] == "given" and isinstance(segmentation["lengths"][0], list):
        return {"kind": "given", "lengths": segmentation["lengths"][b]}
    return segmentation


def values_enter_linearly(make: Make, example: Example, tolerance: float) -> None:
    """Of matrix memories that start at zero, y is linear in v (all gates and keys held)."""
    other = sample_normal(example.inputs["v"].shape, example.seed + 3)
    first = output(make, example.composition, example.inputs)
    second = output(make, example.composition, example.inputs | {"v": other})
    both = output(
        make, example.composition, example.inputs | {"v": 2.0 * example.inputs["v"] - other}
    )
    assert_agree(both, 2.0 * first - second, tolerance, "linear in v")


def backward_is_finite_difference(make: Make, example: Example, tolerance: float) -> None:
    """Every gradient is the derivative of y along random directions, in float64."""
    memory = make(example.composition)
    check_inputs(memory.forward, memory.backward, example.inputs, tolerance, seed=example.seed)


def threads_change_nothing(makes: Sequence[Make], example: Example, tolerance: float) -> None:
    """Memories of one backend with several numbers of threads give the same y and gradients."""
    want, *others = (answer(make(example.composition), example) for make in makes)
    for got in others:
        for name, array in want.items():
            assert_agree(got[name], array, tolerance, name)
