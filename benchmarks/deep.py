"""Titans with cached memories, forward and backward, against PyTorch on one thread.

    python -m benchmarks.deep

PyTorch computes the same numbers in two ways, both with autograd (checked before anything is
timed): `closed` is the chunk form that the kernels use, all segments as one batch of matrix
products; `per token` is `vmap(grad)` with the weights of every token written out, as public code
for Titans does it, for fewer tokens. Processor time, the best of several interleaved rounds, with
NumPy's large sgemm between them. Useful FLOPs per token and head, of a perceptron K x E, chunks of
c tokens, n checkpoints read on average:

    forward = 22 K E + 2 (c + 1) (K + E) + 4 K E n + 2 K (n + 1),  backward = 2 forward
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported

import argparse
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.deep_peer import Chunks, closed, layer, per_token
from benchmarks.deep_problem import Problem
from benchmarks.machine import blas, machine
from mcore.arrays import Array
from mcore.bench.clock import sgemm_rate

RESULTS = Path(__file__).parent / "results"
torch: Any = import_module("torch")

CLOSE = 2e-4
"""Largest relative difference, in the norm of an array, that counts as the same numbers."""

HEAD = [
    "| chunk / segment / T | forward / backward ms | useful GFLOP/s | sgemm GFLOP/s | of sgemm "
    "| PyTorch | ms | mcore is |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
]


class Peer:
    """A PyTorch form of a problem, forward and backward."""

    def __init__(self, problem: Problem, chunk_form: Chunks) -> None:
        self.problem, self.chunk_form = problem, chunk_form
        self.x = {n: torch.from_numpy(a).requires_grad_() for n, a in problem.inputs().items()}
        self.dy = torch.from_numpy(upstream(problem))

    def __call__(self) -> tuple[Any, dict[str, Any]]:
        """y, and the gradient of every input."""
        y = layer(self.x, self.problem, self.chunk_form)
        found = torch.autograd.grad(y, list(self.x.values()), self.dy)
        return y.detach().numpy(), dict(zip(self.x, (g.numpy() for g in found), strict=True))


class Ours:
    """A problem in the kernels."""

    def __init__(self, problem: Problem) -> None:
        self.memory, self.x, self.dy = problem.memory(), problem.inputs(), upstream(problem)

    def forward(self) -> tuple[Array, Any]:
        """y, and what backward needs."""
        return self.memory.forward(self.x)

    def backward(self, saved: Any) -> dict[str, Array]:
        """The gradient of every input."""
        return self.memory.backward(saved, self.dy)


def upstream(problem: Problem) -> Array:
    """The gradient with respect to y."""
    shape = (problem.rows, problem.tokens, problem.heads, problem.width)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def check(ours: Ours, peer: Peer) -> None:
    """Exit unless both compute the same numbers."""
    (y, saved), (peer_y, peer_gradients) = ours.forward(), peer()
    pairs = {"y": (y, peer_y)}
    pairs |= {n: (g, peer_gradients[n]) for n, g in ours.backward(saved).items()}
    for name, (got, want) in pairs.items():
        error, size = np.linalg.norm(got - want), np.linalg.norm(want)
        if not error <= CLOSE * size:
            raise SystemExit(f"{name}: differs by {error:.1e} from PyTorch's, of norm {size:.1e}")


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of one call, and what it returned."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def measure(problem: Problem, chunk_form: Chunks, rounds: int) -> tuple[float, float, float, float]:
    """Best seconds of our forward, our backward and PyTorch's both, and the best sgemm rate."""
    ours, peer = Ours(problem), Peer(problem, chunk_form)
    check(ours, peer)
    times = []
    for _ in range(rounds):
        forward, (_, saved) = seconds(ours.forward)
        backward, _ = seconds(lambda saved=saved: ours.backward(saved))  # type: ignore[misc]
        times.append((forward, backward, seconds(peer)[0], 1 / sgemm_rate()))
    forward, backward, theirs, gemm = (min(column) for column in zip(*times, strict=True))
    return forward, backward, theirs, 1 / gemm


def line(problem: Problem, form: str, times: tuple[float, float, float, float]) -> str:
    """A row of the table."""
    forward, backward, theirs, sgemm = times
    rate = problem.flops / (forward + backward)
    cells = [
        f"{problem.chunk} / {problem.segment} / {problem.tokens}",
        f"{1e3 * forward:.0f} / {1e3 * backward:.0f}",
        f"{rate / 1e9:.0f}",
        f"{sgemm / 1e9:.0f}",
        f"{100 * rate / sgemm:.0f} %",
        form,
        f"{1e3 * theirs:.0f}",
        f"{theirs / (forward + backward):.1f}x",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure, print the table and write it to benchmarks/results/."""
    parser = argparse.ArgumentParser(description="Time Titans with cached memories.")
    sizes = {"rows": 2, "heads": 4, "width": 64, "hidden": 256, "tokens": 1024, "rounds": 5}
    for name, default in {**sizes, "per_token_tokens": 256}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = vars(parser.parse_args())
    tokens, short, rounds = (given.pop(n) for n in ("tokens", "per_token_tokens", "rounds"))
    torch.set_num_threads(1)
    lines = [f"One thread; {machine()}, PyTorch {torch.__version__}, OpenBLAS with {blas()}."]
    lines += ["", *HEAD]
    for chunk, segment in ((16, 64), (16, 128), (64, 64), (64, 128)):
        problem = Problem(chunk, segment, tokens, **given)
        lines.append(line(problem, "closed", measure(problem, closed, rounds)))
    problem = Problem(16, 64, short, **given)
    lines.append(line(problem, "per token", measure(problem, per_token, 2)))
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "deep.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
