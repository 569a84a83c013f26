"""Sound that is made of formulas, and what ONNX Runtime makes of it with the published weights.

    python tests/silero_signal.py      writes silero_expected.json anew

needs silero-vad (`pip install --no-deps silero-vad`) and onnxruntime. Five vowels of a falling
voice, each a sum of harmonics under three formants, with silence before and hissing after them.
"""

import json
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.weights.silero_files import installed

EXPECTED = Path(__file__).with_name("silero_expected.json")
MODEL = "silero_vad.onnx"
RATE, CHUNK, CONTEXT = 16000, 512, 64

VOWELS = {
    "a": (800, 1200, 2500),
    "i": (300, 2300, 3000),
    "o": (500, 900, 2400),
    "e": (500, 1900, 2500),
    "u": (320, 800, 2300),
}
"""Formants in Hz."""


def signal() -> Array:
    """Four seconds at 16 kHz, float32."""
    silence = np.zeros(RATE // 2)
    voice = np.concatenate([vowel(*VOWELS[v], 130 - 4 * n) for n, v in enumerate("aioeuaieo")])
    hiss = 0.05 * whole_numbers(RATE // 2)
    sound = np.concatenate([silence, voice, silence, hiss, silence])
    return sound[: len(sound) // CHUNK * CHUNK].astype(np.float32)


def vowel(first: float, second: float, third: float, pitch: float) -> Array:
    """0.22 s of a vowel, which rises and falls."""
    t = np.arange(int(0.22 * RATE)) / RATE
    harmonics = pitch * np.arange(1, int(4000 / pitch))
    size = sum(
        weight / (1 + ((harmonics - formant) / 80) ** 2)
        for weight, formant in ((1.0, first), (0.6, second), (0.3, third))
    )
    phase = 2 * np.pi * (harmonics[:, None] * (t - 0.3 * t**2))
    sound = (np.asarray(size)[:, None] * np.sin(phase)).sum(axis=0)
    quiet: Array = 0.3 * sound / np.abs(sound).max() * np.sin(np.pi * t / t[-1]) ** 0.5
    return quiet


def whole_numbers(count: int) -> Array:
    """Noise between -1 and 1 from a multiplicative generator (Park and Miller 1988)."""
    found, x = [], 1
    for _ in range(count):
        x = 16807 * x % 2147483647
        found.append(x / 1073741823.5 - 1)
    return np.array(found)


def expected(model: str, content: bytes | None = None) -> Array:
    """ONNX Runtime's probabilities for `signal`, by a model of the package or by other content."""
    runtime: Any = import_module("onnxruntime")
    given = content or installed().with_name(model).read_bytes()
    session = runtime.InferenceSession(given, providers=["CPUExecutionProvider"])
    sound, found = np.pad(signal(), (CONTEXT, 0)), []
    state, rate = np.zeros((2, 1, 128), np.float32), np.array(RATE)
    for begin in range(0, len(sound) - CONTEXT, CHUNK):
        chunk = sound[None, begin : begin + CONTEXT + CHUNK]
        p, state = session.run(None, {"input": chunk, "state": state, "sr": rate})
        found.append(p[0, 0])
    return np.array(found)


def main() -> None:
    """Write the file of expected probabilities."""
    versions = {name: version(name) for name in ("silero-vad", "onnxruntime", "numpy")}
    made = {
        "made": "by tests/silero_signal.py: ONNX Runtime's probabilities for its signal",
        "model": MODEL,
        "versions": versions,
        "probabilities": [round(float(p), 6) for p in expected(MODEL)],
    }
    EXPECTED.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
