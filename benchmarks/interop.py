"""What JAX and PyTorch add to a memory's own time: the same numbers in, the same numbers out.

    python -m benchmarks interop --sizes 1/64/1/64 4/1024/4/64

Needs jax and torch; what is missing is left out. `linear` + `grm`, segments of 64, float32, one
thread, timed with the processor's clock; all take turns, and the best round counts.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

import numpy as np

import mcore
from benchmarks.results import RESULTS, Row, heading, load, path_of, publish, store, table
from mcore.arrays import Array
from mcore.backend import get_backend
from mcore.bench.clock import Effort, interleave
from mcore.memory_layer import Memory

WHAT = "Milliseconds of a memory called with NumPy arrays, in JAX, and in PyTorch."
CONTENDERS = ("NumPy", "JAX", "PyTorch")
HEAD = ["B / T / H / K", *(f"{what}, {who}" for what in ("forward", "both") for who in CONTENDERS)]
SIZES = ("1/64/1/64", "1/256/1/64", "2/512/4/64", "4/1024/4/64")
LEAST = 4096
"""Tokens x heads that are timed at once: a short call alone is mostly cold caches."""
Calls = dict[str, Callable[[], object]]


def numpy_calls(memory: Memory, inputs: Mapping[str, Array], dy: Array) -> Calls:
    """The memory itself."""

    def both() -> object:
        _, saved = memory.forward(inputs)
        return memory.backward(saved, dy)

    return {"forward, NumPy": lambda: memory.forward(inputs), "both, NumPy": both}


def jax_calls(memory: Memory, inputs: Mapping[str, Array], dy: Array) -> Calls:
    """Compiled."""
    import jax

    from mcore.interop.jax import JaxMemory

    layer, given = JaxMemory(memory), jax.device_put(dict(inputs))
    forward = jax.jit(layer)
    both = jax.jit(jax.value_and_grad(lambda x: (layer(x) * dy).sum()))
    return {
        "forward, JAX": lambda: jax.block_until_ready(forward(given)),
        "both, JAX": lambda: jax.block_until_ready(both(given)),
    }


def torch_calls(memory: Memory, inputs: Mapping[str, Array], dy: Array) -> Calls:
    """Eager."""
    import torch

    from mcore.interop.torch import TorchMemory

    torch.set_num_threads(1)
    layer = TorchMemory(memory)
    given = {name: torch.tensor(x, requires_grad=True) for name, x in inputs.items()}
    plain, dy = {name: x.detach() for name, x in given.items()}, torch.tensor(dy)

    def both() -> object:
        return torch.autograd.grad(layer(given), tuple(given.values()), dy)

    return {"forward, PyTorch": lambda: layer(plain), "both, PyTorch": both}


def measure(size: str, effort: Effort) -> dict[str, float]:
    """Milliseconds of each call that can be made here."""
    rows, tokens, heads, width = map(int, size.split("/"))
    cuts = {"kind": "constant", "length": 64}
    memory = mcore.memory("linear", cuts, "grm", backend=get_backend("numba", 1))
    rng, shape = np.random.default_rng(0), (rows, tokens, heads, width)
    inputs = {n: 0.1 * rng.standard_normal(shape, np.float32) for n in memory.inputs}
    dy = rng.standard_normal(shape, np.float32)
    calls = numpy_calls(memory, inputs, dy)
    for library, made in (("jax", jax_calls), ("torch", torch_calls)):
        if find_spec(library):
            calls |= made(memory, inputs, dy)
    times = max(1, LEAST // (rows * tokens * heads))
    calls = {name: repeated(call, times) for name, call in calls.items()}
    for call in calls.values():
        call()
    return {name: 1e3 * s / times for name, s in interleave(calls, effort).seconds.items()}


def repeated(call: Callable[[], object], times: int) -> Callable[[], object]:
    """A call, so many times."""

    def run() -> None:
        for _ in range(times):
            call()

    return run


def lines(rows: Mapping[str, Row]) -> list[str]:
    """Markdown."""
    cells = []
    for name, row in rows.items():
        found = [f"{row['ms'][what]:.2f}" if what in row["ms"] else "" for what in HEAD[1:]]
        cells.append([name.replace("/", " / "), *found])
    return heading(WHAT, rows) + table(HEAD, cells)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the sizes, each kept at once; write and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks interop", description=WHAT)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="B/T/H/K")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each size, at least")
    parser.add_argument("--out", type=type(RESULTS), default=RESULTS, metavar="FOLDER")
    given = parser.parse_args(argv)
    path = path_of("interop", given.out)
    for size in given.sizes:
        store(path, size, {"ms": measure(size, Effort(seconds=given.seconds))})
    publish(path, lines(load(path)))
