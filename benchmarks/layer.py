"""One memory layer, forward and backward: milliseconds, GFLOP/s, and how they compare.

    python -m benchmarks.layer --rules linear --readouts grm --tokens 2048

Writes a table to benchmarks/results/. One thread, timed with the processor's clock, the best of
several rounds; NumPy's large sgemm is measured between the rounds, the reference once. Useful FLOPs
do not depend on how the work is cut:

    forward = 4 K V + 2 K V n + 2 K (n + 1) per token and head,  backward = 2 forward

with n checkpoints read on average (for top-k at most k of them).
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import mcore
from benchmarks.machine import blas, machine
from mcore.arrays import Array
from mcore.backend import get_backend

RESULTS = Path(__file__).parent / "results"

HEAD = [
    "| rule | readout | d / L / T | forward / backward ms | useful GFLOP/s | sgemm GFLOP/s "
    "| of sgemm | reference |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
]


class Problem(NamedTuple):
    """A layer and its sizes."""

    rule: str
    readout: str
    rows: int
    heads: int
    width: int
    segment: int
    tokens: int
    top_k: int

    @property
    def flops(self) -> float:
        """Useful FLOPs of forward and backward."""
        segments = -(-self.tokens // self.segment)
        seen = (segments - 1) / 2
        read = np.mean([min(s, self.top_k) for s in range(segments)])
        pairs = {"none": 0, "residual": 1, "ssc": float(read)}.get(self.readout, seen)
        gates = 2 * self.width * (seen + 1) if self.readout in ("grm", "ssc") else 0
        forward = (4 + 2 * pairs) * self.width**2 + gates
        return 3 * forward * self.rows * self.heads * self.tokens

    def memory(self, backend: str) -> mcore.Memory:
        """The layer on one thread of a backend, in float32."""
        readout = {"kind": "ssc", "top_k": self.top_k} if self.readout == "ssc" else self.readout
        cut = {"kind": "constant", "length": self.segment}
        return mcore.memory(self.rule, cut, readout, backend=get_backend(backend, 1))

    def inputs(self, declared: dict[str, str]) -> dict[str, Array]:
        """Random inputs; keys of unit size, mild decays."""
        rng = np.random.default_rng(0)
        sizes = {"B": self.rows, "T": self.tokens, "H": self.heads}
        found = {}
        for name, axes in declared.items():
            shape = tuple(sizes.get(axis, self.width) for axis in axes.split())
            normal = rng.standard_normal(shape)
            scale = self.width**-0.5 if name in ("q", "k") else 1.0
            unit = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
            sigmoid = 1 / (1 + np.exp(-normal))
            special = {"log_decay": -0.1 * normal**2, "beta": sigmoid, "kk": unit, "a": sigmoid}
            found[name] = special.get(name, scale * normal).astype(np.float32)
        return found


class Times(NamedTuple):
    """Best seconds of forward and backward, and the best sgemm rate between them."""

    forward: float
    backward: float
    sgemm: float

    @property
    def total(self) -> float:
        """Forward and backward."""
        return self.forward + self.backward


def seconds(call: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def sgemm_rate(size: int = 1024) -> float:
    """FLOP/s of one large matrix product."""
    a = np.random.default_rng(0).random((size, size), np.float32)
    return 2 * size**3 / min(seconds(lambda: a @ a) for _ in range(3))


def measure(problem: Problem, backend: str, rounds: int) -> Times:
    """Best times of a layer on a backend; the first, compiling round does not count."""
    memory = problem.memory(backend)
    inputs = problem.inputs(memory.inputs)
    y, saved = memory.forward(inputs)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    if rounds > 1:
        memory.backward(saved, dy)
    times = [
        (
            seconds(lambda: memory.forward(inputs)),
            seconds(lambda: memory.backward(saved, dy)),
            sgemm_rate(),
        )
        for _ in range(rounds)
    ]
    forward, backward, rates = zip(*times, strict=True)
    return Times(min(forward), min(backward), max(rates))


def line(problem: Problem, fast: Times, slow: Times) -> str:
    """A row of the table."""
    rate = problem.flops / fast.total
    cells = [
        problem.rule,
        problem.readout,
        f"{problem.width} / {problem.segment} / {problem.tokens}",
        f"{1e3 * fast.forward:.0f} / {1e3 * fast.backward:.0f}",
        f"{rate / 1e9:.0f}",
        f"{fast.sgemm / 1e9:.0f}",
        f"{100 * rate / fast.sgemm:.0f} %",
        f"{slow.total / fast.total:.0f}x",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure the asked-for layers, print the table and write it to benchmarks/results/."""
    parser = argparse.ArgumentParser(description="Time memory layers, forward and backward.")
    parser.add_argument("--rules", nargs="+", default=["linear", "gated_delta"])
    parser.add_argument("--readouts", nargs="+", default=["grm", "ssc"])
    for name, default in (("rows", 4), ("heads", 4), ("width", 64), ("segment", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--top_k", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    given = vars(parser.parse_args())
    rules, readouts, rounds = (given.pop(name) for name in ("rules", "readouts", "rounds"))
    lines = [f"One thread; {machine()}, OpenBLAS with {blas()} kernels.", "", *HEAD]
    for rule in rules:
        for readout in readouts:
            problem = Problem(rule, readout, **given)
            fast, slow = measure(problem, "numba", rounds), measure(problem, "reference", 1)
            lines.append(line(problem, fast, slow))
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"layer-{blas()}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
