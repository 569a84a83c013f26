"""One stream through a model: feed tokens as they come, save, restore."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mcore.arrays import Array
from mcore.errors import SnapshotError
from mcore.model.memory_mixer import memory_arrays
from mcore.model.part import LIVE, State, prefixed
from mcore.stream import Stream

if TYPE_CHECKING:
    from mcore.model import Model


class Session:
    """A stream with its memory: any split of the tokens into feeds gives the batch answer.

    Memories change in place (`Memory.stream`): a feed that is interrupted from outside leaves some
    of them ahead of others; `restore` then, or set `state`.

    Attributes:
        model: whose parameters are used.
        state: what the stream carries, as a copy; empty before the first token.
    """

    def __init__(self, model: "Model", state: State | None = None) -> None:
        self.model, self._carried = model, state or {}

    @property
    def state(self) -> State:
        """See above."""
        found: State = {}
        for name, x in self._carried.items():
            found.update(_arrays(name, x) if isinstance(x, Stream) else {name: x})
        return found

    @state.setter
    def state(self, state: State) -> None:
        self._carried = dict(state)

    def feed(self, tokens: Array) -> Array:
        """Outputs of the next tokens: logits, or what the head of a model of series gives.

        Shapes: tokens (T,) -> (T, vocab); (B, T) -> (B, T, vocab), for B streams in step. Of
        series, (T, C) -> (T, O); (B, T, C) -> (B, T, O).

        Raises:
            SpecError: the segmentation depends on the total length.
            ShapeError: T = 0, or another number of streams than before.
        """
        tokens = np.asarray(tokens)
        alone = tokens.ndim == (1 if self.model.channels is None else 2)
        rows = tokens[None] if alone else tokens
        live = {**self._carried, LIVE: np.True_}
        outputs, self._carried = self.model.step(rows, live)  # type: ignore[arg-type]
        return outputs[0] if alone else outputs

    @property
    def nbytes(self) -> int:
        """Size of the state."""
        return sum(x.nbytes for x in self.state.values())

    def save(self, path: str | Path) -> None:
        """Write the stream's state (not the model) as one file, atomically.

        The stream goes on from what was written: to the bit as one that is restored from it.
        """
        from mcore.snapshot import Snapshot, write_snapshot

        self.state = state = self.state
        write_snapshot(Path(path), Snapshot(_fingerprint(self.model), state))

    def restore(self, path: str | Path) -> None:
        """Go on from a saved state.

        Raises:
            SnapshotError: the file is damaged, or of a stream through another kind of model.
        """
        from mcore.snapshot import read_snapshot

        snapshot = read_snapshot(Path(path))
        if snapshot.spec != _fingerprint(self.model):
            raise SnapshotError(
                f"{path}: is not a stream through this model; restore it in a session of the "
                "model that it was saved from"
            )
        self.state = dict(snapshot.params)


def _arrays(name: str, stream: Stream) -> State:
    """The arrays that a stream carried as `name` stands for."""
    scope, state = name.rpartition(".")[0], stream.state
    return {} if state is None else prefixed(scope, memory_arrays(state))


def _fingerprint(model: "Model") -> str:
    """Names and shapes of the parameters, and the axes of the memory."""
    shapes = {name: list(x.shape) for name, x in model.params.items()}
    memory = model.spec.memory.model_dump(mode="json")
    return json.dumps({"session": shapes, "memory": memory}, sort_keys=True)
