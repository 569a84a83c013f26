"""A stream of samples through silero-vad."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mcore.arrays import Array
from mcore.errors import ShapeError
from mcore.weights.streams import read_state, state_arrays, states_of, write_state

if TYPE_CHECKING:
    from mcore.weights.silero import Silero

CHUNK, CONTEXT = 512, 64
"""Samples of a token, and of the chunk before that it sees again."""

TAIL = "tail"
"""Name of the samples in a stream's file."""


class SileroStream:
    """One recording, or B of them in step, that come in pieces: any split gives the same answers.

    Attributes:
        model: the detector.
    """

    def __init__(self, model: "Silero") -> None:
        self.model, self._stream = model, model.rnn.stream()
        self._tail: Array | None = None

    def feed(self, samples: object) -> Array:
        """Probabilities of the chunks that these samples complete, perhaps none.

        Shapes: samples (N,) -> (chunks,); (B, N) -> (B, chunks).

        Raises:
            InputError, ShapeError: as `Silero.probabilities`; another number of recordings.
        """
        sound = self.model.checked(samples)
        rows = np.atleast_2d(sound)
        tail = self._tail
        if tail is None:
            tail = np.zeros((len(rows), CONTEXT), rows.dtype)
        if len(tail) != len(rows):
            raise ShapeError(f"samples: {len(rows)} recordings, the stream has {len(tail)}")
        waiting = np.concatenate([tail, rows], axis=1)
        used = (waiting.shape[1] - CONTEXT) // CHUNK * CHUNK
        p = np.empty((len(rows), 0), rows.dtype)
        if used and len(rows):
            tokens = self.model.tokens(waiting[:, : used + CONTEXT])
            p = self.model.decoded(self._stream.feed(tokens))
        self._tail = waiting[:, used:].copy()
        return p[0] if sound.ndim == 1 else p

    def finish(self) -> Array:
        """Fill the chunk that has begun, if any, with silence: (B, 1) or (B, 0) probabilities."""
        tail = np.zeros((1, CONTEXT), self.model.rnn.memory.dtype)
        tail = tail if self._tail is None else self._tail
        return self.feed(np.zeros((len(tail), (CONTEXT - tail.shape[1]) % CHUNK), tail.dtype))

    def save(self, path: str | Path) -> None:
        """Write where the stream is (not the weights) as one file, atomically."""
        self._stream.state = state = self._stream.state
        arrays = state_arrays(state)
        if self._tail is not None:
            arrays[TAIL] = self._tail
        write_state(Path(path), self._fingerprint, arrays)

    def restore(self, path: str | Path) -> None:
        """Go on from a saved stream.

        Raises:
            SnapshotError: the file is damaged, or of a stream that was wrapped otherwise.
        """
        arrays = read_state(Path(path), self._fingerprint)
        self._tail = arrays.pop(TAIL, None)
        self._stream.state = states_of(arrays, self.model.rnn.memory.origin)

    @property
    def _fingerprint(self) -> str:
        memory = self.model.rnn.memory
        return json.dumps({"silero": memory.origin, "dtype": memory.dtype})
