"""A token of a stream with a full cache, beside the time to read what it reads from memory."""

from typing import Any, NamedTuple

import numpy as np

import mcore
from benchmarks.gpu_lab import Lab
from mcore.backend import Decoding
from mcore.cache.compact import stored_bytes
from mcore.recurrence import Dims

HELD, SEGMENT, TOP_K = 1000, 64, 4


class Case(NamedTuple):
    """What is decoded.

    Attributes:
        rule, readout: kinds.
        rows, heads: B and H.
        dtype: of the cache; None for that of the memory.
    """

    rule: str
    readout: str
    rows: int
    heads: int
    dtype: Any = None

    @property
    def name(self) -> str:
        """Without the sizes."""
        words = [self.rule if self.rule != "gated_linear" else "", self.readout, self.dtype or ""]
        return " ".join(word for word in words if word)


CASES = [
    Case("gated_linear", "ssc", 1, 1),
    Case("gated_linear", "ssc", 64, 16),
    Case("gated_linear", "grm", 1, 1),
    Case("gated_linear", "grm", 8, 16),
    Case("gated_linear", "grm", 8, 16, "int8"),
    Case("mlstm", "grm", 8, 16, "float16"),
    Case("lstm", "ssc", 64, 16),
]


def run(lab: Lab) -> bool:
    """Measure them, launched one by one and as a graph; always true."""
    for case in CASES:
        if lab.left() <= 0:
            print("decode: out of time", flush=True)
            return True
        measure(lab, case._replace(rows=1, heads=1) if lab.emulated else case)
    return True


def measure(lab: Lab, case: Case) -> None:
    """A row: seconds of a token, of its graph, and of a token of every other row alone."""
    from mcore.backends.cupy_gpu.decode_graph import TokenGraph

    width, held = (16, 8) if lab.emulated else (64, HELD)
    decoder = full(lab, case, width, held)
    token, graph = decoder.token_arrays(), TokenGraph(decoder)
    some = np.arange(0, case.rows, 2)
    declared = decoder.decoding.rule.inputs | decoder.decoding.readout.inputs
    theirs = {n: x[: len(some)] if "T" in declared[n] else x for n, x in token.items()}
    open_still = np.zeros(len(some), bool)
    seconds = lab.best(
        {
            "launches": lambda: decoder.feed(token, None),
            "graph": graph.replay,
            "every other row": lambda: decoder.feed_rows(some, theirs, open_still),
        }
    )
    name = f"{case.name} B={case.rows} H={case.heads} N={held} d={width}"
    lab.store("decode", name, {"bytes": bytes_of(decoder, held), "seconds": seconds})
    told = ", ".join(f"{kind} {1e6 * t:.0f} us" for kind, t in seconds.items())
    print(f"{name}: {told}", flush=True)


def full(lab: Lab, case: Case, width: int, held: int) -> Any:
    """A decoder that holds as many checkpoints as it may."""
    read: Any = {"kind": "ssc", "top_k": TOP_K} if case.readout == "ssc" else case.readout
    cut = {"kind": "constant", "length": SEGMENT}
    cache = {"limit": held, "dtype": case.dtype}
    memory = mcore.memory(case.rule, cut, read, backend="cupy", cache=cache)
    dims = Dims(case.rows, 1, case.heads, width, width)
    decoding = Decoding(memory.rule, memory.readout, memory.cache, False, dims, None)
    decoder: Any = lab.backend.decoder(decoding, memory.empty(dims))
    token = decoder.token_arrays()
    for _ in range(held):
        decoder.feed(token, np.ones(case.rows, bool))
    return decoder


def bytes_of(decoder: Any, held: int) -> int:
    """What a token must read and write: checkpoints and contexts, and the online memory twice."""
    decoding = decoder.decoding
    shape, dims = decoding.rule.state_shape(decoding.dims), decoding.dims
    router, numbers = decoding.readout.routing, shape[0] * shape[1]
    read = min(router.top_k or held, held)
    asked = shape[1] if decoding.rule.family == "vector" else numbers
    states = read * stored_bytes(asked, decoding.cache.dtype, shape[1], 4)
    return int(dims.B * dims.H * (states + 4 * (2 * numbers + held * dims.K)))
