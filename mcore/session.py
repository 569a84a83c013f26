"""One stream through a model: feed it as it comes, save, restore."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcore.arrays import Array, received
from mcore.errors import ShapeError
from mcore.model.memory_mixer import memory_arrays
from mcore.model.part import LIVE, State, prefixed
from mcore.model.placed import placed
from mcore.stream import Stream

if TYPE_CHECKING:
    from mcore.model import Model


class Session:
    """A stream with its memory: any split of it into feeds gives the batch answer.

    Memories change in place (`Memory.stream`): a feed that is interrupted from outside leaves some
    of them ahead of others; `restore` then, or set `state`.

    Attributes:
        model: whose parameters are used.
        state: what the stream carries, as a copy; empty before the first token. What is set may
            be of a session on another backend, if it lies on the host.
    """

    def __init__(self, model: "Model", state: State | None = None) -> None:
        self.model = model
        self.state = state or {}

    @property
    def state(self) -> State:
        """See above."""
        found: State = {}
        for name, x in self._carried.items():
            found.update(_arrays(name, x) if isinstance(x, Stream) else {name: x})
        return found

    @state.setter
    def state(self, state: State) -> None:
        self._carried: dict[str, Any] = dict(placed(state, self.model.backend.xp))
        self._rows = next((len(array) for array in state.values()), None)

    def feed(self, tokens: object) -> Array:
        """Outputs of the next tokens: logits, or what the head of a model of series gives.

        Shapes: tokens (T,) -> (T, vocab); (B, T) -> (B, T, vocab), for B streams in step. Of a
            model with C real-valued channels: (T, C) -> (T, O); (B, T, C) -> (B, T, O).

        Raises:
            SpecError: the segmentation depends on the total length.
            ShapeError: T = 0, or another number of streams than before.
        """
        array = received("tokens", tokens, np)
        alone = array.ndim == rank_of(self.model)
        rows = array[None] if alone else array
        if rows.ndim == 1 + rank_of(self.model) and self._rows not in (None, len(rows)):
            message = f"tokens: {len(rows)} streams, and this session carries {self._rows}"
            raise ShapeError(f"{message}; as many, or a new session would do")
        live = {**self._carried, LIVE: np.True_}
        outputs, self._carried = self.model.step(rows, live)
        self._rows = len(rows)
        return outputs[0] if alone else outputs

    @property
    def nbytes(self) -> int:
        """Size of the state."""
        return sum(x.nbytes for x in self.state.values())

    def save(self, path: str | Path, note: Mapping[str, Any] | None = None) -> None:
        """Write the stream's state (not the model) as one file, atomically.

        The stream goes on from what was written: to the bit as one that is restored from it. A
        `note`, anything JSON can hold, is kept with it.

        Raises:
            SnapshotError: the disk does not take it.
        """
        from mcore.session_file import write_stream

        self.state = state = self.state
        write_stream(path, self.model, state, note)

    def restore(self, path: str | Path) -> dict[str, Any]:
        """Go on from a saved state; returns the note that was saved with it.

        Raises:
            SnapshotError: the file is damaged, of a newer mcore, or of a stream through another
                kind of model.
        """
        from mcore.session_file import read_stream

        self.state, note = read_stream(path, self.model)
        return note


def rank_of(model: "Model") -> int:
    """Axes of one stream's input: 1 for tokens (T,), 2 for vectors (T, C)."""
    return 1 if model.channels is None else 2


def _arrays(name: str, stream: Stream) -> State:
    """The arrays that a stream carried as `name` stands for."""
    scope, state = name.rpartition(".")[0], stream.state
    return {} if state is None else prefixed(scope, memory_arrays(state))
