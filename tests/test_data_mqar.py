"""MQAR rows are those of the benchmark, and a function of seed and step alone."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcore.data import Mqar, make_task


def _task(**changes: float) -> Mqar:
    sizes = {"vocab": 64, "length": 40, "pairs": 4, "gap_power": 0.01, "eval_examples": 10}
    return Mqar(**{**sizes, "batch": 6, "seed": 0, **changes})  # type: ignore[arg-type]


@given(
    st.integers(1, 12),
    st.integers(0, 9),
    st.integers(0, 40),
    st.floats(0.01, 2),
    st.integers(0, 99),
)
def test_rows_are_pairs_then_queries(
    pairs: int, longer: int, words: int, gap_power: float, step: int
) -> None:
    vocab, length = 2 * pairs + 2 + words, 4 * pairs + longer
    task = _task(vocab=vocab, length=length, pairs=pairs, gap_power=gap_power)
    tokens, labels = task.train_batch(step)
    assert tokens.shape == labels.shape == (6, length)
    assert tokens.dtype == labels.dtype == np.int64
    assert tokens.min() >= 0
    assert tokens.max() < vocab
    for row, answers in zip(tokens, labels, strict=True):
        keys, values = row[0 : 2 * pairs : 2], row[1 : 2 * pairs : 2]
        assert len(set(keys)) == len(set(values)) == pairs
        assert keys.min() >= 1
        assert keys.max() < vocab // 2 <= values.min()
        places = np.flatnonzero(answers >= 0)
        assert len(places) == pairs
        assert (places >= 2 * pairs).all()
        assert (places % 2 == 0).all()
        asked = dict(zip(row[places].tolist(), answers[places].tolist(), strict=True))
        assert asked == dict(zip(keys.tolist(), values.tolist(), strict=True))
        assert set(answers) <= {-1, *values.tolist()}


def test_batches_are_functions_of_seed_and_step() -> None:
    first, again = _task(), _task()
    for step in (5, 1, 5):
        np.testing.assert_array_equal(first.train_batch(step), again.train_batch(step))
    assert not np.array_equal(first.train_batch(1), first.train_batch(2))
    assert not np.array_equal(first.train_batch(1), _task(seed=1).train_batch(1))


def test_held_out_rows_are_fixed_and_apart_from_training() -> None:
    task = _task(eval_examples=600)
    once = np.concatenate([batch.tokens for batch in task.eval_batches()])
    task.train_batch(3)
    twice = np.concatenate([batch.tokens for batch in _task(eval_examples=600).eval_batches()])
    np.testing.assert_array_equal(once, twice)
    trained = {row.tobytes() for step in range(100) for row in task.train_batch(step).tokens}
    assert len(once) == 600
    assert len({row.tobytes() for row in once}) == 600
    assert not trained & {row.tobytes() for row in once}


@pytest.mark.parametrize("batch", [1, 7, 256, 1000])
def test_held_out_set_does_not_depend_on_the_batch(batch: int) -> None:
    task = _task(eval_examples=300, batch=batch)
    batches = list(task.eval_batches())
    assert {part.tokens.shape for part in batches} == {(batch, 40)}
    tokens, labels = (np.concatenate(column) for column in zip(*batches, strict=True))
    assert (labels[300:] == -1).all()
    expected = list(_task(eval_examples=300, batch=300).eval_batches())
    np.testing.assert_array_equal(tokens[:300], expected[0].tokens)
    np.testing.assert_array_equal(labels[:300], expected[0].labels)


def _close(counts: np.ndarray, expected: np.ndarray) -> None:
    """Within five standard deviations everywhere."""
    total = counts.sum()
    spread = np.sqrt(total * expected * (1 - expected))
    assert (np.abs(counts - total * expected) <= 5 * spread + 1e-9).all()


@pytest.mark.parametrize("gap_power", [0.01, 0.5, 1.0])
def test_gaps_are_drawn_one_after_another_without_replacement(gap_power: float) -> None:
    task = _task(length=12, pairs=2, batch=20000, gap_power=gap_power)
    tokens, labels = task.train_batch(0)
    gaps = np.empty((20000, 2), np.int64)
    for key in (0, 1):
        places = (tokens == tokens[:, [2 * key]]) & (labels >= 0)
        gaps[:, key] = (places.argmax(axis=1) - 4) // 2
    p = np.arange(1, 5) ** (gap_power - 1.0)
    p /= p.sum()
    expected = p[:, None] * p[None, :] / (1 - p[:, None])
    np.fill_diagonal(expected, 0)
    counts = np.zeros((4, 4))
    np.add.at(counts, (gaps[:, 0], gaps[:, 1]), 1)
    _close(counts, expected)


def test_keys_values_and_filler_are_uniform() -> None:
    tokens, labels = _task(vocab=10, length=16, pairs=3, batch=20000).train_batch(0)
    for column in (0, 2, 4):
        _close(np.bincount(tokens[:, column], minlength=10), np.array([0, *[1 / 4] * 4, *[0] * 5]))
    for column in (1, 3, 5):
        _close(np.bincount(tokens[:, column], minlength=10), np.array([*[0] * 5, *[1 / 5] * 5]))
    filler = tokens[:, 7::2]
    assert (labels[:, 7::2] == -1).all()
    _close(np.bincount(filler.ravel(), minlength=10), np.full(10, 1 / 10))


def test_make_task_reads_the_spec() -> None:
    data = SimpleNamespace(
        task="mqar", vocab=64, length=40, pairs=4, gap_power=0.01, eval_examples=10
    )
    task = make_task(data, 6, 0)
    assert task == _task()
    assert (task.vocab, task.metric) == (64, "accuracy")
    assert task.description == "mqar: 4 pairs in 40 tokens of 64"
