"""What silero-vad makes of a chunk of sound before its LSTM: a spectrum, then four convolutions.

    spectrum   256 samples every 128, |cosines and sines| of 129 frequencies         4 x 129
    encoder    convolutions over 3 of them, relu: 128, 64 (every 2nd), 64 (every 2nd), 128
    token      what is left is one vector of 128 numbers

The chunk's end is continued by its mirror image, and each convolution by a zero on either side.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mcore.arrays import Array

WINDOW, HOP, MIRRORED = 256, 128, 64
"""Samples in a spectrum, between spectra, and added at a chunk's end."""

STRIDES = {"conv1": 1, "conv2": 2, "conv3": 2, "conv4": 1}
"""Steps of the encoder's convolutions, in order."""

REACH = 3
"""Places that each of them looks at."""

BLOCK = 256
"""Chunks that are worked on at once: more would leave the processor's caches."""


class Convolution(NamedTuple):
    """A convolution over places, with a zero on either side, then relu.

    Attributes:
        weight: (REACH * C, O).
        bias: (O,).
        stride: places between answers.
    """

    weight: Array
    bias: Array
    stride: int

    @classmethod
    def of(cls, weight: Array, bias: Array, stride: int) -> "Convolution":
        """From torch's layout, weight (O, C, REACH)."""
        taps = weight.transpose(2, 1, 0).reshape(-1, weight.shape[0])
        return cls(np.ascontiguousarray(taps), bias, stride)

    def __call__(self, x: Array) -> Array:
        """(N, L, C) -> (N, L', O)."""
        rows, places, channels = x.shape
        padded = np.zeros((rows, places + 2, channels), x.dtype)
        padded[:, 1:-1] = x
        seen = [padded[:, tap : tap + places : self.stride] for tap in range(REACH)]
        windows = np.concatenate(seen, axis=-1)
        y: Array = windows.reshape(-1, REACH * channels) @ self.weight
        y += self.bias
        np.maximum(y, 0, out=y)
        return y.reshape(rows, windows.shape[1], -1)


class Front:
    """From chunks of sound to tokens; `arrays` are `stft_conv.weight` and `conv1` to `conv4`."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.basis = np.ascontiguousarray(arrays["stft_conv.weight"][:, 0].T)
        self.encoder = [
            Convolution.of(arrays[f"{name}.weight"], arrays[f"{name}.bias"], stride)
            for name, stride in STRIDES.items()
        ]

    def tokens(self, chunks: Array) -> Array:
        """(N, samples) -> (N, 128)."""
        if len(chunks) <= BLOCK:
            return self._tokens(chunks)
        blocks = [chunks[n : n + BLOCK] for n in range(0, len(chunks), BLOCK)]
        return np.concatenate([self._tokens(block) for block in blocks])

    def spectra(self, chunks: Array) -> Array:
        """(N, samples) -> (N, 4, 129)."""
        sound = np.concatenate([chunks, chunks[:, -2 : -2 - MIRRORED : -1]], axis=1)
        begins = range(0, sound.shape[1] - WINDOW + 1, HOP)
        windows = np.stack([sound[:, begin : begin + WINDOW] for begin in begins], axis=1)
        waves = windows.reshape(-1, WINDOW) @ self.basis
        waves *= waves
        half = waves.shape[1] // 2
        size: Array = np.sqrt(waves[:, :half] + waves[:, half:])
        return size.reshape(len(chunks), -1, half)

    def _tokens(self, chunks: Array) -> Array:
        x = self.spectra(chunks)
        for convolution in self.encoder:
            x = convolution(x)
        return x[:, 0]
