"""A recording of real speech with known silences, from WAV files that Debian packages bring.

    pocketsphinx-testdata   sentences read aloud and cards called, 16 kHz
    alsa-utils              "front left" and the like, 48 kHz: every third sample is taken

Clips follow each other with gaps between them; pink noise may lie under all of it. A chunk of 512
samples counts as speech where it is loud in a clip (within 30 dB of the clip's loudest chunk), as
silence where it lies in a gap, and is not scored elsewhere.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.weights import read_wave
from mcore.weights.silero import RATE
from mcore.weights.silero_stream import CHUNK

FOLDERS = ("/usr/share/pocketsphinx/test/data", "/usr/share/sounds/alsa")
"""Where the packages put them."""

NOT_SPEECH = "Noise.wav"
LOUD = 10 ** (-30 / 20)
GAPS = (1.0, 4.0)
"""Seconds of silence between clips: evenly between these."""

SPEECH, SILENCE, UNSCORED = 1, 0, -1


class Recording(NamedTuple):
    """Sound and what is known of it.

    Attributes:
        samples: (N,) float32 at 16 kHz, N a multiple of 512.
        labels: (N / 512,) `SPEECH`, `SILENCE` or `UNSCORED`.
    """

    samples: Array
    labels: Array

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / RATE

    def noisy(self, decibels: float, seed: int) -> "Recording":
        """With pink noise that the speech exceeds by so many decibels on average."""
        speech = np.repeat(self.labels == SPEECH, CHUNK)
        noise = pink(len(self.samples), seed)
        level = np.sqrt(np.mean(self.samples[speech] ** 2)) * 10 ** (-decibels / 20)
        return self._replace(samples=(self.samples + level * noise).astype(np.float32))


def clips(folders: Sequence[str]) -> list[Array]:
    """All clips below the folders, in the order of their paths, each a whole number of chunks."""
    found = []
    for path in sorted(path for folder in folders for path in Path(folder).rglob("*.wav")):
        samples, rate = read_wave(path)
        if path.name != NOT_SPEECH and rate % RATE == 0:
            every = samples[:: rate // RATE]
            found.append(np.pad(every, (0, -len(every) % CHUNK)))
    if not found:
        raise SystemExit(
            f"{', '.join(folders)}: no WAV files; install pocketsphinx-testdata and alsa-utils, or "
            "unpack them and name the folder: --audio FOLDER"
        )
    return found


def recorded(parts: Sequence[Array], seed: int) -> Recording:
    """The clips at the same loudness, in some order, with gaps before, between and after them."""
    rng = np.random.default_rng(seed)
    samples, labels = [], []
    for part in (parts[n] for n in rng.permutation(len(parts))):
        quiet = int(rng.uniform(*GAPS) * RATE / CHUNK)
        samples += [np.zeros(quiet * CHUNK, np.float32), 0.2 * part / np.abs(part).max()]
        size = np.sqrt(np.mean(part.reshape(-1, CHUNK) ** 2, axis=1))
        labels += [np.full(quiet, SILENCE), np.where(size > LOUD * size.max(), SPEECH, UNSCORED)]
    quiet = int(GAPS[1] * RATE / CHUNK)
    samples.append(np.zeros(quiet * CHUNK, np.float32))
    labels.append(np.full(quiet, SILENCE))
    return Recording(np.concatenate(samples), np.concatenate(labels))


def pink(count: int, seed: int) -> Array:
    """Noise whose power falls as 1 / frequency, of mean square 1."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    noise = np.fft.irfft(spectrum, count)
    quiet: Array = noise / np.sqrt(np.mean(noise**2))
    return quiet
