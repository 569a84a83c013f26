"""Truncated back-propagation: rows in pieces whose state is carried from step to step."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import same_runs

import mcore
from mcore import training
from mcore.data import Batch
from mcore.errors import SpecError
from mcore.model import Model
from mcore.model.carry import join_states, split_state
from mcore.spec import Spec, load_spec
from mcore.training.display import Quiet
from mcore.training.truncate import Piece, Rows

QUIET = Quiet()
SPEC: dict[str, Any] = {
    "model": {"width": 16, "heads": 2, "depth": 2},
    "memory": {
        "recurrence": "gated_delta",
        "segmentation": {"kind": "adaptive", "min": 2, "max": 5},
        "readout": "grm",
        "cache": {"limit": 3, "evict": "merge"},
    },
    "data": {"task": "text", "corpus": "python-stdlib", "length": 24, "eval_bytes": 200},
    "train": {"steps": 7, "batch": 5, "truncate": 10, "save_every": 1, "eval_every": 0},
    "backend": "reference",
}


def spec(**train: Any) -> Spec:
    """The spec above with changes to its train section."""
    return load_spec({**SPEC, "train": {**SPEC["train"], **train}})


class Counting:
    """A task whose tokens count up, row by row."""

    vocab, metric, description = 100, "accuracy", "counting"

    def train_batch(self, step: int) -> Batch:
        tokens = np.arange(24).reshape(1, 24) + 100 * step
        return Batch(tokens, tokens + 1)


def test_pieces_follow_each_other() -> None:
    rows = Rows(Counting(), 24, 10)
    seen = []
    for step in range(1, 7):
        piece = rows.batch(step)
        assert isinstance(piece, Piece)
        assert bool(piece.state) == (step not in (1, 4))
        seen.append(piece.tokens[0])
        rows.keep(step, {"last": piece.tokens[:, -1:]})
    np.testing.assert_array_equal(np.concatenate(seen[:3]), np.arange(100, 124))
    np.testing.assert_array_equal(np.concatenate(seen[3:]), np.arange(200, 224))


def test_the_carried_state_is_that_of_the_whole_row() -> None:
    """The losses of the pieces are those of the row: what is remembered is not truncated."""
    model = mcore.compile(spec())
    rng = np.random.default_rng(0)
    tokens, labels = rng.integers(0, 256, (5, 24)), rng.integers(0, 256, (5, 24))
    whole, _ = model.loss(tokens, labels)
    state, total = None, 0.0
    for at in (slice(0, 10), slice(10, 20), slice(20, 24)):
        loss, saved = model.loss(tokens[:, at], labels[:, at], state)
        state = model.end(saved)
        total += loss.value * loss.count
    assert total / whole.count == pytest.approx(whole.value, rel=1e-5)


def test_threads_carry_the_rows_apart() -> None:
    rng = np.random.default_rng(0)
    tokens, labels = rng.integers(0, 256, (5, 10)), rng.integers(0, 256, (5, 10))
    losses = []
    for threads in (1, 2):
        model = mcore.compile(spec(), backend="numba", threads=threads)
        _, saved = model.loss(tokens, labels)
        loss, _ = model.loss(tokens, labels, model.end(saved))
        losses.append(loss.value)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_states_are_split_and_joined() -> None:
    state = {"position": np.arange(5), "checkpoints": np.arange(30.0).reshape(5, 3, 2)}
    parts = split_state(state, 2)
    for name, array in join_states(parts).items():
        np.testing.assert_array_equal(array, state[name])
    parts[1]["checkpoints"] = parts[1]["checkpoints"][:, 1:]
    joined = join_states(parts)["checkpoints"]
    assert (joined[3:, 0] == 0).all()
    np.testing.assert_array_equal(joined[:, 1:], state["checkpoints"][:, 1:])


class Stopped(Exception):
    """What breaks a run off."""


def test_a_run_that_is_resumed_within_a_row_ends_the_same(tmp_path: Path) -> None:
    def compile_mortal(spec: Spec) -> Model:
        model = mcore.compile(spec)
        losses, loss = itertools.count(1), model.loss

        def mortal(*args: Any) -> Any:
            if next(losses) == 6:
                raise Stopped
            return loss(*args)

        model.loss = mortal  # type: ignore[method-assign, assignment]
        return model

    training.run(spec(), mcore.compile, tmp_path / "whole", display=QUIET)
    with pytest.raises(Stopped):
        training.run(spec(), compile_mortal, tmp_path / "cut", display=QUIET)
    training.resume(tmp_path / "cut", mcore.compile, QUIET)
    same_runs(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train.truncate": 25}, "25 is more than data.length, 24; 24 or less would do"),
        ({"memory.segmentation": "logarithmic"}, "logarithmic cuts need the whole row"),
    ],
)
def test_what_cannot_be_truncated_is_refused(changes: dict[str, Any], words: str) -> None:
    overrides = [f"{key}={value}" for key, value in changes.items()]
    with pytest.raises(SpecError, match=words):
        load_spec(SPEC, overrides)
