"""Layers on the device, forward and backward, beside their bounds and their peers.

The useful FLOPs are those that `mcore plan` counts. A layer's bound is the larger of its FLOPs at
cuBLAS's rate on matrices of its size, and its inputs, outputs and gradients at copy bandwidth.
"""

from itertools import cycle
from typing import Any, NamedTuple

from benchmarks import gpu_peers
from benchmarks.gpu_lab import Lab
from benchmarks.problem import Problem

CACHE = 64 << 20
"""Bytes: more than a second-level cache, so that rotating buffers are not found there."""

LAYER = Problem(rows=8, heads=16, tokens=8192)
MAIN = [LAYER._replace(width=d, segment=length) for d in (64, 128) for length in (64, 256)]
BASES = [
    LAYER._replace(rule=rule, readout="none")
    for rule in ("linear", "retention", "gated_linear", "delta", "gated_delta", "gla", "rwkv7")
]
SPARSE = [LAYER._replace(readout="ssc", segment=length) for length in (64, 256)]
OTHERS = [LAYER._replace(rule="mlstm"), LAYER._replace(rule="titans", rows=1, tokens=2048)]


class Buffers(NamedTuple):
    """A set of inputs and a gradient of y."""

    inputs: dict[str, Any]
    dy: Any


def run(lab: Lab) -> bool:
    """Measure them; always true."""
    for problem in (*MAIN, *SPARSE, *BASES, *OTHERS):
        if lab.left() <= 0:
            print("layers: out of time", flush=True)
            return True
        small = problem._replace(rows=1, heads=1, width=16, segment=16, tokens=64)
        measure(lab, small if lab.emulated else problem)
    return True


def measure(lab: Lab, problem: Problem) -> None:
    """A row: seconds of forward, of both, by mcore and by the peers that are there."""
    memory = problem.memory("cupy")
    first = Buffers(
        {name: lab.xp.asarray(x) for name, x in problem.inputs().items()},
        lab.xp.asarray(problem.answers()),
    )
    size = sum(x.nbytes for x in first.inputs.values()) + first.dy.nbytes
    sets = [first, *(_copied(first) for _ in range(0 if lab.emulated else int(CACHE // size)))]
    turn = cycle(sets)

    def forward() -> None:
        memory.forward(next(turn).inputs)

    def both() -> None:
        inputs, dy = next(turn)
        _, saved = memory.forward(inputs)
        memory.backward(saved, dy)

    calls: gpu_peers.Calls = {"mcore forward": forward, "mcore both": both}
    calls |= gpu_peers.calls(lab, problem, first.inputs, first.dy)
    seconds = lab.best(calls)
    traffic = 3 * size  # read twice, and gradients of the same size written
    sizes = {**problem._asdict(), "flops": 3 * problem.flops, "bytes": traffic}
    lab.store("layers", problem.name, {**sizes, "seconds": seconds})
    told = ", ".join(f"{name} {1e3 * t:.2f} ms" for name, t in seconds.items())
    print(f"{problem.name}: {told}", flush=True)


def _copied(held: Buffers) -> Buffers:
    return Buffers({name: x.copy() for name, x in held.inputs.items()}, held.dy.copy())
