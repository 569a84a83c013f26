"""Streaming decode of perceptrons, and of gates made of answers: microseconds a token.

    python -m benchmarks.decode_deep             the table
    python -m benchmarks.decode_deep --rules titans --heads 1 --held 0 8

One row, one thread, K = V = 64, 256 hidden units, segments of 64 tokens, float32, a cache that is
full: `grm` over perceptrons, `sigmoid` over a gated delta rule. `step` is the same token through
`Memory.step`. The bound is the time in which NumPy finds the largest number in as many bytes as a
token cannot help moving: the online memory read and written once, every checkpoint's matrices read
once. Timed with the processor's clock, best of several rounds in turns; NumPy's large sgemm is
measured between the rounds. Writes benchmarks/results/decode_deep.md.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

import mcore
from benchmarks.machine import blas, machine
from mcore.arrays import Array
from mcore.backend import get_backend
from mcore.bench.clock import sgemm_rate
from mcore.recurrence import Dims

RESULTS = Path(__file__).parent / "results"
WIDTH, HIDDEN, SEGMENT, SEED = 64, 256, 64, 0
RULES = ("dla", "titans", "yaad", "moneta", "memora", "gated_delta")
ROUND = 0.01
"""Seconds of a round, about."""


@dataclass(frozen=True)
class Case:
    """A stream to time.

    Attributes:
        rule: a perceptron, read by `grm`; or `gated_delta`, read by `sigmoid`.
        heads, held: H, and checkpoints in the cache.
    """

    rule: str
    heads: int
    held: int

    @property
    def memory(self) -> mcore.Memory:
        """The composition on one thread."""
        readout = "sigmoid" if self.rule == "gated_delta" else "grm"
        return mcore.memory(
            self.rule,
            {"kind": "constant", "length": SEGMENT},
            readout if self.held else "none",
            cache={"limit": max(self.held, 1)},
            backend=get_backend("numba", 1),
        )

    @property
    def nbytes(self) -> int:
        """What a token cannot help moving."""
        rule, dims = self.memory.rule, Dims(1, 1, self.heads, WIDTH, WIDTH, HIDDEN)
        online = 2 * prod(rule.state_shape(dims))
        checkpoint = WIDTH * (WIDTH if self.rule == "gated_delta" else 2 * HIDDEN)
        return 4 * self.heads * (online + self.held * checkpoint)


def token(case: Case) -> dict[str, Array]:
    """A random token; keys of unit size, mild decays, steps and weights as layers start."""
    rng = np.random.default_rng(SEED)
    sizes = {"B": 1, "T": 1, "H": case.heads, "K": WIDTH, "V": WIDTH, "E": HIDDEN}
    found = {}
    for name, axes in case.memory.inputs.items():
        x = rng.standard_normal([sizes[axis] for axis in axes.split()])
        found[name] = _scaled(name, x).astype(np.float32)
    return found


def _scaled(name: str, x: Array) -> Array:
    small = {"w_out": (WIDTH * HIDDEN) ** -0.5, "gate_online": 0.02, "gate_cached": 0.02}
    if name in ("step", "momentum", "delta", "beta"):
        x = (2.0 / HIDDEN if name == "step" else 1.0) / (1 + np.exp(-x))
    elif name == "log_decay":
        x = -0.1 * x**2
    else:
        x = x * (WIDTH**-0.5 if name in "qkvu" else small.get(name, 1.0))
    return x


def full_stream(case: Case, some: dict[str, Array]) -> mcore.Stream:
    """A stream whose cache is full; its last segment has just begun."""
    memory, stream = case.memory, case.memory.stream()
    declared = memory.inputs
    segment = {
        name: np.repeat(x, SEGMENT, axis=1) if "T" in declared[name].split() else x
        for name, x in some.items()
    }
    for _ in range(case.held):
        stream.feed(segment)
    stream.feed(some)
    assert stream.decodes
    return stream


class Timed:
    """Something done for each token, and the best time that it took."""

    def __init__(self, call: Callable[[], object]) -> None:
        call()
        self._call, self.best = call, float("inf")
        start = time.process_time()
        call()
        self._count = max(1, int(ROUND / max(time.process_time() - start, 1e-6)))

    def round(self) -> None:
        """Once more."""
        start = time.process_time()
        for _ in range(self._count):
            self._call()
        self.best = min(self.best, 1e6 * (time.process_time() - start) / self._count)


def line(case: Case, rounds: int) -> str:
    """A row of the table."""
    some = token(case)
    stream, memory = full_stream(case, some), case.memory
    state = [stream.state]
    passive = np.ones(case.nbytes // 4, np.float32)

    def step() -> None:
        state[0] = memory.step(some, state[0])[1]

    calls = [Timed(call) for call in (step, lambda: stream.feed(some), passive.max)]
    rate = 0.0
    for _ in range(rounds):
        for timed in calls:
            timed.round()
        rate = max(rate, sgemm_rate())
    numbers = [f"{timed.best:.1f}" for timed in calls]
    cells: list[Any] = [case.rule, case.heads, case.held, *numbers, f"{rate / 1e9:.0f}"]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Measure, print the table and write it to benchmarks/results/."""
    parser = argparse.ArgumentParser(description="Time streaming decode of perceptrons.")
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=RULES)
    parser.add_argument("--heads", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--held", nargs="+", type=int, default=[0, 8, 64])
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    lines = [
        f"Microseconds a token, one thread; {machine()}, OpenBLAS with {blas()} kernels.",
        "",
        "| rule | H | N | `step` | stream | bound | sgemm GFLOP/s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rule in given.rules:
        for heads in given.heads:
            for held in given.held:
                lines.append(line(Case(rule, heads, held), given.rounds))
                print(lines[-1], flush=True)
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "decode_deep.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
