"""LSTM and GRU layers, forward and backward, against torch.nn.LSTM and torch.nn.GRU.

    python -m benchmarks.rnn --widths 256 512 --rows 8 16 32

Needs torch. A layer is its input projection and its recurrence,
with the gradients of both weights and of the input; inputs are as wide as the layer, without
biases. One thread, timed with the processor's clock: mcore, torch and NumPy's large sgemm take
turns, the best of several rounds counts, and all numbers are compared before any is timed. FLOPs
are those of the products,

    forward = 2 G V (V + V) per token with G gates,  backward = 2 forward

so that a layer at the speed of sgemm would show 100 %. torch has no sLSTM to compare with. Both
libraries ask the system for large arrays anew in each call, and what that takes is part of their
times; with --hold freed memory stays with the process, for both. Writes benchmarks/results/rnn.md,
or rnn-hold.md.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported

import argparse
import ctypes
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import mcore
from benchmarks.machine import blas, machine
from mcore.arrays import Array
from mcore.backend import get_backend
from mcore.bench.clock import sgemm_rate
from mcore.layers.linear import linear, linear_backward

RESULTS = Path(__file__).parent / "results"
GATES = {"lstm": 4, "gru": 3, "slstm": 4}
CLOSE = 2e-5
"""Largest difference allowed between the two, in parts of an array's largest number."""

HEAD = [
    "| layer | heads x width | rows x tokens | forward / both ms | torch ms | faster than torch "
    "| GFLOP/s | sgemm | of sgemm |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
]


class Problem(NamedTuple):
    """A layer and its sizes."""

    rule: str
    heads: int
    width: int
    rows: int
    tokens: int

    @property
    def flops(self) -> float:
        """Of forward and backward: the input is as wide as all heads together."""
        wide, out = self.heads * self.width, GATES[self.rule] * self.heads * self.width
        return 6.0 * self.rows * self.tokens * out * (wide + self.width)

    def arrays(self) -> dict[str, Array]:
        """Input, both weights, and the gradient of the output."""
        rng = np.random.default_rng(0)
        wide, gates = self.heads * self.width, GATES[self.rule] * self.width
        bound = wide**-0.5
        shapes = {
            "project": (wide, self.heads * gates),
            "recurrent": (self.heads, self.width, gates),
        }
        found = {n: rng.uniform(-bound, bound, shape) for n, shape in shapes.items()}
        for name in ("x", "dy"):
            found[name] = rng.standard_normal((self.rows, self.tokens, wide))
        return {name: array.astype(np.float32) for name, array in found.items()}


class Ours:
    """The layer in mcore: a projection, then the memory."""

    def __init__(self, problem: Problem, arrays: dict[str, Array]) -> None:
        self.problem, self.arrays = problem, arrays
        self.memory = mcore.memory(problem.rule, "none", "none", backend=get_backend("numba", 1))
        self.fixed = {"recurrent": arrays["recurrent"]}
        if problem.rule == "gru":
            self.fixed["recurrent_bias"] = np.zeros((problem.heads, problem.width), np.float32)

    def forward(self) -> tuple[Array, Any]:
        """y (B, T, H V), and what `both` needs."""
        p = self.problem
        gates, projected = linear(self.arrays["x"], self.arrays["project"])
        y, saved = self.memory.forward(
            {"x": gates.reshape(p.rows, p.tokens, p.heads, -1), **self.fixed}
        )
        return y.reshape(p.rows, p.tokens, -1), (projected, saved)

    def both(self) -> list[Array]:
        """y, and the gradients of the input and of both weights."""
        p = self.problem
        y, (projected, saved) = self.forward()
        dy = self.arrays["dy"].reshape(p.rows, p.tokens, p.heads, p.width)
        grads = self.memory.backward(saved, dy)
        dx, d_project = linear_backward(projected, grads["x"].reshape(p.rows, p.tokens, -1))
        return [y, dx, d_project, grads["recurrent"][0]]

    def stream(self, tokens: int) -> None:
        """One token at a time, on the state of the one before."""
        p = self.problem
        gates, _ = linear(self.arrays["x"], self.arrays["project"])
        whole, state = gates.reshape(p.rows, p.tokens, p.heads, -1), None
        for t in range(tokens):
            _, state = self.memory.step({"x": whole[:, t : t + 1], **self.fixed}, state)


class Theirs:
    """The same layer in torch; gates come in the same order."""

    def __init__(self, problem: Problem, arrays: dict[str, Array]) -> None:
        torch = import_module("torch")
        torch.set_num_threads(1)
        kinds = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
        layer = kinds[problem.rule](problem.width, problem.width, bias=False)
        weights = [arrays["project"].T, arrays["recurrent"][0].T]
        with torch.no_grad():
            for parameter, weight in zip(layer.parameters(), weights, strict=True):
                parameter.copy_(torch.from_numpy(weight.copy()))
        self.torch, self.layer = torch, layer
        # Time first, as is faster there.
        self.x, self.dy = (
            torch.from_numpy(arrays[name].swapaxes(0, 1).copy()) for name in ("x", "dy")
        )
        self.x.requires_grad_()

    def forward(self) -> Any:
        """y (T, B, V)."""
        with self.torch.no_grad():
            return self.layer(self.x)[0]

    def both(self) -> list[Array]:
        """As `Ours.both`."""
        y, _ = self.layer(self.x)
        wanted = [self.x, *self.layer.parameters()]
        dx, d_project, d_recurrent = self.torch.autograd.grad(y, wanted, self.dy)
        found = [y.detach().swapaxes(0, 1), dx.swapaxes(0, 1), d_project.T, d_recurrent.T]
        return [tensor.numpy() for tensor in found]


def hold_memory() -> None:
    """Have glibc keep freed memory, so that no call has to ask the system for pages."""
    process = ctypes.CDLL(None)
    trim_threshold, map_at_most = -1, -4
    process.mallopt(trim_threshold, -1)
    process.mallopt(map_at_most, 0)


def seconds(call: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def compare(problem: Problem, ours: list[Array], theirs: list[Array]) -> None:
    """Raise unless both found the same."""
    for name, a, b in zip(("y", "dx", "d_project", "d_recurrent"), ours, theirs, strict=True):
        difference = float(abs(a - b).max() / abs(b).max())
        if not difference < CLOSE:
            raise ArithmeticError(f"{problem}: {name} differs by {difference:.1e}")


def measure(problem: Problem, rounds: int) -> tuple[list[float], float]:
    """Best seconds of our forward and both, their forward and both; and the best sgemm rate."""
    arrays = problem.arrays()
    layers: list[Any] = [Ours(problem, arrays)]
    if problem.rule != "slstm":
        layers.append(Theirs(problem, arrays))
        compare(problem, *(layer.both() for layer in layers))
    calls = [call for layer in layers for call in (layer.forward, layer.both)]
    for call in calls:
        call()
    times, rates = [], []
    for _ in range(rounds):
        times.append([seconds(call) for call in calls])
        rates.append(sgemm_rate())
    return [min(column) for column in zip(*times, strict=True)], max(rates)


def line(problem: Problem, times: list[float], sgemm: float) -> str:
    """A row of the table."""
    forward, both, *theirs = times
    rate = problem.flops / both
    cells = [
        problem.rule,
        f"{problem.heads} x {problem.width}",
        f"{problem.rows} x {problem.tokens}",
        f"{1e3 * forward:.0f} / {1e3 * both:.0f}",
        f"{1e3 * theirs[0]:.0f} / {1e3 * theirs[1]:.0f}" if theirs else "",
        f"{theirs[0] / forward:.2f} / {theirs[1] / both:.2f}" if theirs else "",
        f"{rate / 1e9:.0f}",
        f"{sgemm / 1e9:.0f}",
        f"{100 * rate / sgemm:.0f} %",
    ]
    return "| " + " | ".join(cells) + " |"


def latency(rule: str, width: int) -> str:
    """Microseconds of one streamed token of one row."""
    problem = Problem(rule, 1, width, 1, 200)
    ours = Ours(problem, problem.arrays())
    ours.stream(2)
    best = min(seconds(lambda: ours.stream(problem.tokens)) for _ in range(7))
    return f"| {rule} | {width} | {1e6 * best / problem.tokens:.0f} |"


def main() -> None:
    """Measure, print the tables and write them to benchmarks/results/."""
    parser = argparse.ArgumentParser(description="Time LSTM and GRU layers against torch's.")
    parser.add_argument("--rules", nargs="+", default=["lstm", "gru", "slstm"])
    parser.add_argument("--widths", nargs="+", type=int, default=[256, 512])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 8, 16, 32])
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--hold", action="store_true")
    given = parser.parse_args()
    if given.hold:
        hold_memory()
    lines = [f"One thread; {machine()}, OpenBLAS with {blas()} kernels.", "", *HEAD]
    for rule in given.rules:
        shapes = [(4, 64), (1, 256)] if rule == "slstm" else [(1, w) for w in given.widths]
        for heads, width in shapes:
            for rows in given.rows:
                problem = Problem(rule, heads, width, rows, given.tokens)
                lines.append(line(problem, *measure(problem, given.rounds)))
                print(lines[-1], flush=True)
    lines += [
        "",
        "A streamed token of one row:",
        "",
        "| layer | width | us |",
        "| --- | --- | --- |",
    ]
    lines += [latency(rule, given.widths[0]) for rule in given.rules]
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / ("rnn-hold.md" if given.hold else "rnn.md")).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
