"""A token of a stream with a full cache, beside the time to read what it reads from memory."""

from typing import Any

import numpy as np

import mcore
from benchmarks.gpu_lab import Lab
from mcore.backend import Decoding
from mcore.recurrence import Dims

HELD, SEGMENT, TOP_K = 1000, 64, 4
CASES = [("ssc", 1, 1), ("ssc", 64, 16), ("grm", 1, 1), ("grm", 8, 16)]
"""Readout, rows and heads."""


def run(lab: Lab) -> bool:
    """Measure them, launched one by one and as a graph; always true."""
    for readout, rows, heads in CASES:
        if lab.left() <= 0:
            print("decode: out of time", flush=True)
            return True
        measure(lab, readout, (1, 1) if lab.emulated else (rows, heads))
    return True


def measure(lab: Lab, readout: str, size: tuple[int, int]) -> None:
    """A row: seconds of a token, and of its graph."""
    from mcore.backends.cupy_gpu.decode_graph import TokenGraph

    rows, heads = size
    width, held = (16, 8) if lab.emulated else (64, HELD)
    read: Any = {"kind": "ssc", "top_k": TOP_K} if readout == "ssc" else readout
    cut = {"kind": "constant", "length": SEGMENT}
    memory = mcore.memory("gated_linear", cut, read, backend="cupy", cache={"limit": held})
    dims = Dims(rows, 1, heads, width, width)
    decoding = Decoding(memory.rule, memory.readout, memory.cache, False, dims, None)
    decoder: Any = lab.backend.decoder(decoding, memory.empty(dims))
    token = decoder.token_arrays()
    for _ in range(held):
        decoder.feed(token, np.ones(rows, bool))
    graph = TokenGraph(decoder)
    seconds = lab.best({"launches": lambda: decoder.feed(token, None), "graph": graph.replay})
    states = (min(TOP_K, held) if readout == "ssc" else held) + 2  # the online one is written too
    contexts = held * width
    bytes_read = 4 * rows * heads * (states * width * width + contexts)
    name = f"{readout} B={rows} H={heads} N={held} d={width}"
    lab.store("decode", name, {"bytes": bytes_read, "seconds": seconds})
    told = ", ".join(f"{kind} {1e6 * t:.0f} us" for kind, t in seconds.items())
    print(f"{name}: {told}", flush=True)
