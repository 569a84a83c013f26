"""silero-vad's published LSTM inside mcore, beside ONNX Runtime; and with cached memories.

    pip install --no-deps silero-vad && pip install onnxruntime
    apt-get install pocketsphinx-testdata alsa-utils        # or unpack them: --audio FOLDER
    python -m benchmarks.vad --audio FOLDER

First table: the largest difference between the two over a recording of `benchmarks.speech`, and
what a second of sound costs, on one thread by the processor's clock, best of several rounds in
turns. Second table: the same weights with checkpoints and readouts around the LSTM, without
retraining, against the known speech and silence of several such recordings, without noise and with
two strengths of it; means over the recordings. Writes benchmarks/results/vad.md.

    AUC       how often a chunk of speech has a higher probability than one of silence
    wrong     scored chunks on the wrong side of 0.5
    changed   all chunks, in all noise, on another side of 0.5 than without checkpoints
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.machine import blas, machine
from benchmarks.speech import FOLDERS, SILENCE, SPEECH, Recording, clips, recorded
from mcore.arrays import Array
from mcore.backend import get_backend
from mcore.bench.clock import Effort, interleave
from mcore.weights import Silero, load_silero
from mcore.weights.silero_files import installed
from mcore.weights.silero_stream import CHUNK, CONTEXT

RESULTS = Path(__file__).parent / "results"
MODELS = ("silero_vad_16k_op15.onnx", "silero_vad.onnx")
"""The 16 kHz model alone, and the one that the package loads unless told otherwise."""

CLOSE = 1e-4
"""Largest difference in probability allowed."""

NOISE = (None, 10.0, 0.0)
"""Decibels by which speech exceeds the noise."""

SEGMENTS = (16, 64, 256)
"""Chunks in a segment: about half a second, 2 and 8 seconds."""

AVERAGES: dict[str, dict[str, Any]] = {
    "uniform": {"readout": "moving_average"},
    "ema, rate 0.5": {"readout": {"kind": "moving_average", "weights": "ema", "rate": 0.5}},
    "ema, rate 0.9": {"readout": {"kind": "moving_average", "weights": "ema", "rate": 0.9}},
}

RECORDINGS = 5
"""Orders of the clips, lengths of the gaps, and noises."""


class Theirs:
    """One of the package's ONNX models, run as the package runs it, chunk by chunk."""

    def __init__(self, name: str) -> None:
        runtime = import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = str(installed().with_name(name))
        providers = ["CPUExecutionProvider"]
        self.session = runtime.InferenceSession(path, options, providers=providers)

    def probabilities(self, samples: Array) -> Array:
        """(chunks,) for samples (N,), N a multiple of 512."""
        sound, found = np.pad(samples, (CONTEXT, 0)), []
        state, rate = np.zeros((2, 1, 128), np.float32), np.array(16000)
        for begin in range(0, len(samples), CHUNK):
            chunk = sound[None, begin : begin + CONTEXT + CHUNK]
            p, state = self.session.run(None, {"input": chunk, "state": state, "sr": rate})
            found.append(p[0, 0])
        return np.array(found)


def streamed(model: Silero, samples: Array, chunks: int) -> Array:
    """Probabilities of a stream that is fed so many chunks at a time."""
    stream, step = model.stream(), chunks * CHUNK
    return np.concatenate(
        [stream.feed(samples[n : n + step]) for n in range(0, len(samples), step)]
    )


def compared(model: Silero, recording: Recording, rounds: int) -> list[str]:
    """The first table; raises ArithmeticError where the two differ by more than `CLOSE`."""
    samples = recording.samples
    theirs = {name: Theirs(name) for name in MODELS}
    calls: dict[str, Callable[[], Array]] = {
        "mcore, whole recording": lambda: model.probabilities(samples),
        "mcore, stream, 16 chunks at a time": lambda: streamed(model, samples, 16),
        "mcore, stream, chunk by chunk": lambda: streamed(model, samples, 1),
        **{
            f"ONNX Runtime, {name}, chunk by chunk": lambda m=m: m.probabilities(samples)  # type: ignore[misc]
            for name, m in theirs.items()
        },
    }
    answers = {name: call() for name, call in calls.items()}
    wanted = answers[f"ONNX Runtime, {MODELS[0]}, chunk by chunk"]
    timing = interleave(calls, Effort(rounds=rounds))
    lines = [
        "| | largest difference | ms per second of sound | times faster than real time |",
        "| --- | --- | --- | --- |",
    ]
    for name, seconds in timing.seconds.items():
        difference = float(np.abs(answers[name] - wanted).max())
        if not difference < CLOSE:
            raise ArithmeticError(f"{name}: probabilities differ by {difference:.1e}")
        each = 1e3 * seconds / recording.seconds
        lines.append(f"| {name} | {difference:.1e} | {each:.2f} | {1e3 / each:.0f} |")
    return lines


def area(p: Array, labels: Array) -> float:
    """AUC by ranks; equal probabilities count half."""
    speech, silence = np.sort(p[labels == SPEECH]), np.sort(p[labels == SILENCE])
    below = np.searchsorted(silence, speech, side="left")
    level = np.searchsorted(silence, speech, side="right")
    return float((below + level).mean() / 2 / len(silence))


class Score(NamedTuple):
    """How good the probabilities of a recording are."""

    area: float
    wrong: float
    changed: float

    @classmethod
    def of(cls, p: Array, plain: Array, labels: Array) -> "Score":
        """Of p, beside the probabilities without checkpoints."""
        scored = labels >= 0
        wrong = ((p > 0.5) != (labels == SPEECH))[scored].mean()
        return cls(area(p, labels), float(wrong), float(((p > 0.5) != (plain > 0.5)).mean()))


def wrappings() -> dict[str, dict[str, Any]]:
    """What is put around the LSTM."""
    found: dict[str, dict[str, Any]] = {"none": {}}
    for length in SEGMENTS:
        cut = {"segmentation": {"kind": "constant", "length": length}}
        found[f"{length}, independent, none"] = cut
        for start in ("checkpoint", "independent"):
            for name, average in AVERAGES.items():
                found[f"{length}, {start}, {name}"] = {**cut, **average, "start": start}
    return found


def wrapped(model: Silero, parts: Sequence[Array]) -> list[str]:
    """The second table."""
    sounds = [[made(parts, seed, db) for seed in range(RECORDINGS)] for db in NOISE]
    plain = [[model.probabilities(each.samples) for each in line] for line in sounds]
    heads = ["AUC, wrong %" if db is None else f"{db:.0f} dB: AUC, wrong %" for db in NOISE]
    lines = ["| segment, start, readout | " + " | ".join([*heads, "changed %"]) + " |"]
    lines.append("| --- |" + " --- |" * (len(NOISE) + 1))
    for name, options in wrappings().items():
        other, cells, changed = model.wrap(**options), [], []
        for line, before in zip(sounds, plain, strict=True):
            found = [
                Score.of(other.probabilities(each.samples), p, each.labels)
                for each, p in zip(line, before, strict=True)
            ]
            mean = Score(*np.mean(found, axis=0))
            cells.append(f"{mean.area:.4f}, {100 * mean.wrong:.1f}")
            changed.append(mean.changed)
        cells.append(f"{100 * np.mean(changed):.1f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def made(parts: Sequence[Array], seed: int, decibels: float | None) -> Recording:
    """A recording, with noise or without."""
    clean = recorded(parts, seed)
    return clean if decibels is None else clean.noisy(decibels, seed)


def noisy_difference(model: Silero, parts: Sequence[Array]) -> str:
    """The largest difference under noise."""
    theirs, words = Theirs(MODELS[0]), []
    for db in NOISE[1:]:
        samples = made(parts, 0, db).samples
        difference = np.abs(model.probabilities(samples) - theirs.probabilities(samples)).max()
        words.append(f"{difference:.1e} at {db:.0f} dB")
    return f"Largest difference with pink noise: {', '.join(words)}."


def main() -> None:
    """Measure, print the tables and write them to benchmarks/results/vad.md."""
    parser = argparse.ArgumentParser(description="silero-vad's LSTM inside mcore.")
    parser.add_argument("--audio", nargs="+", default=list(FOLDERS), help="folders of WAV files")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    parts = clips(given.audio)
    recording, model = recorded(parts, 0), load_silero(backend=get_backend("numba", 1))
    speech, silence = ((recording.labels == label).sum() for label in (SPEECH, SILENCE))
    lines = [
        f"One thread; {machine()}, OpenBLAS with {blas()} kernels. {len(parts)} clips, "
        f"{recording.seconds:.0f} s; {len(recording.labels)} chunks, of which {speech} are speech, "
        f"{silence} silence, the rest not scored.",
        "",
        *compared(model, recording, given.rounds),
        "",
        noisy_difference(model, parts),
        "",
        *wrapped(model, parts),
    ]
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "vad.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
