"""silero-vad, a voice activity detector with an LSTM, on its published weights for 16 kHz.

    token = front(chunk of 512 samples after the 64 before it)
    h     = lstm memory(token)
    p     = sigmoid(relu(h) w + b)              the chunk's probability of speech

Source: the package silero-vad (MIT), by the Silero team; its weights, and what its graph computes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mcore.arrays import Array, as_array
from mcore.axes import Choice
from mcore.backend import Backend
from mcore.errors import InputError, ShapeError
from mcore.recurrence.vector import sigmoid
from mcore.weights.load import load_rnn
from mcore.weights.rnn import Rnn
from mcore.weights.silero_files import silero_arrays
from mcore.weights.silero_front import Front
from mcore.weights.silero_stream import CHUNK, CONTEXT, SileroStream

RATE = 16000
"""Samples a second."""


class Silero:
    """The detector; it has no state of its own.

    Attributes:
        front: from chunks to tokens.
        rnn: the LSTM.
    """

    def __init__(self, front: Front, rnn: Rnn, decoder: tuple[Array, Array]) -> None:
        self.front, self.rnn, self._decoder = front, rnn, decoder

    def probabilities(self, samples: object) -> Array:
        """The probability of speech in each chunk of 32 ms, the last one filled up with silence.

        Shapes: samples (N,) -> (chunks,); (B, N) -> (B, chunks), for B recordings.

        Raises:
            InputError: integers (divide those of 16 bits by 32768), NaN or infinity.
            ShapeError: no samples, or more than two axes.
        """
        sound = self.checked(samples)
        rows = np.atleast_2d(sound)
        if not rows.size:
            raise ShapeError(f"samples: shape {sound.shape}; at least one sample would do")
        missing = -rows.shape[1] % CHUNK
        tokens = self.tokens(np.pad(rows, ((0, 0), (CONTEXT, missing))))
        p = self.decoded(self.rnn.forward(tokens)[0])
        return p[0] if sound.ndim == 1 else p

    def stream(self) -> SileroStream:
        """A stream of samples, in pieces of any length."""
        return SileroStream(self)

    def wrap(
        self,
        segmentation: Choice = "none",
        readout: Choice = "none",
        *,
        start: str = "independent",
        cache: Mapping[str, Any] | None = None,
    ) -> "Silero":
        """The same weights with checkpoints and a readout around the LSTM: `Rnn.wrap`."""
        rnn = self.rnn.wrap(segmentation, readout, start=start, cache=cache)
        if rnn.further:
            raise InputError(
                f"readout, segmentation: need {', '.join(rnn.further)}, which this model does not "
                "make; readout moving_average, residual or none would do"
            )
        return Silero(self.front, rnn, self._decoder)

    def checked(self, samples: object) -> Array:
        """Samples as an array of the memory's dtype; raises as `probabilities` does."""
        if np.asarray(samples).dtype.kind not in "f":
            raise InputError(
                "samples: are not floating point; numbers within -1 and 1 would do, e.g. those of "
                "16 bits divided by 32768"
            )
        sound = as_array("samples", samples, self.rnn.memory.dtype, np)
        if sound.ndim not in (1, 2):
            raise ShapeError(f"samples: shape {sound.shape}, expected (N,) or (B, N)")
        if not np.isfinite(sound).all():
            raise InputError("samples: have NaN or infinity; numbers within -1 and 1 would do")
        return sound

    def tokens(self, rows: Array) -> Array:
        """Tokens (B, n, 128) of the chunks in sound (B, 64 + n * 512) that begins with context."""
        before, own = (x.reshape(-1, CHUNK) for x in (rows[:, :-CONTEXT], rows[:, CONTEXT:]))
        tokens = self.front.tokens(np.concatenate([before[:, :CONTEXT], own], axis=1))
        return tokens.reshape(len(rows), -1, tokens.shape[1])

    def decoded(self, h: Array) -> Array:
        """Probabilities (B, n) from h (B, n, 128)."""
        weight, bias = self._decoder
        return sigmoid(np.maximum(h, 0) @ weight + bias)


def load_silero(
    source: str | Path | None = None, *, backend: str | Backend = "numba", dtype: str = "float32"
) -> Silero:
    """The detector on the weights of the package silero-vad.

    Args:
        source: the package's wheel, or a file of it: `silero_vad_16k_op15.onnx` or
            `silero_vad_16k.safetensors`. None takes the installed package, which is not imported
            (it would ask for PyTorch). Of the package and of its wheel the ONNX file is read: in
            6.2.3 the safetensors file holds other weights, and answers otherwise.
        backend, dtype: as in `mcore.memory`.

    Raises:
        SnapshotError: the package is not installed; the file is missing, damaged or another.
    """
    arrays = {name: as_array(name, x, dtype, np) for name, x in silero_arrays(source).items()}
    rnn = load_rnn(arrays, "lstm_cell.", backend=backend, dtype=dtype)
    decoder = arrays["final_conv.weight"][0, :, 0], arrays["final_conv.bias"][0]
    return Silero(Front(arrays), rnn, decoder)
