"""Streaming decode: microseconds a token, for a cache of N checkpoints in every dtype.

    python -m benchmarks.decode             the table
    python -m benchmarks.decode --million   cost and memory over a million tokens as well

One row, one thread, K = V = 64, segments of 64 tokens, gated linear memory. A token includes the
update, its share of the segment's end, pooling, gates, all reads and the call from Python. Timed
with the processor's clock, best of several rounds between which all cases take turns; NumPy's large
sgemm is measured between the rounds. NumPy decode is the same token in plain NumPy on a float32
cache, and its answers are checked against the stream's. Writes benchmarks/results/decode.md.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

import mcore
from benchmarks.machine import blas, machine
from mcore.arrays import Array
from mcore.backend import get_backend
from mcore.bench.clock import sgemm_rate
from mcore.cache import MemoryState, compact, expand

RESULTS = Path(__file__).parent / "results"
WIDTH, SEGMENT, TOP_K, SEED = 64, 64, 4, 0
READOUTS: dict[str, Any] = {
    "ssc": {"kind": "ssc", "top_k": TOP_K},
    "grm": "grm",
    "residual": "residual",
}
DTYPES = ("float32", "float16", "bfloat16", "int8")

Token = dict[str, Array]


@dataclass(frozen=True)
class Case:
    """A stream to time.

    Attributes:
        readout: one of `READOUTS`.
        heads, held: H, and checkpoints in the cache, which is full.
        dtype: of the cache.
    """

    readout: str
    heads: int
    held: int
    dtype: str

    @property
    def memory(self) -> mcore.Memory:
        """The composition on one thread."""
        cache = {"limit": self.held, "dtype": self.dtype}
        cut = {"kind": "constant", "length": SEGMENT}
        readout = READOUTS[self.readout]
        return mcore.memory(
            "gated_linear", cut, readout, cache=cache, backend=get_backend("numba", 1)
        )

    @property
    def rounds_of(self) -> int:
        """Tokens in a round: about 20 ms."""
        mebibytes = self.heads * self.held * WIDTH * WIDTH * 4 / 2**20
        return max(4, int(1000 / (1 + (mebibytes if self.readout == "grm" else 0))))


def tokens(case: Case, count: int) -> list[Token]:
    """Random tokens; keys of unit size, mild decays."""
    rng, found = np.random.default_rng(SEED), []
    sizes = {"B": 1, "T": 1, "H": case.heads, "K": WIDTH, "V": WIDTH}
    for _ in range(count):
        token = {}
        for name, axes in case.memory.inputs.items():
            normal = rng.standard_normal([sizes[axis] for axis in axes.split()])
            scaled = -0.1 * normal**2 if name == "log_decay" else normal
            token[name] = (scaled * (WIDTH**-0.5 if name in "qk" else 1)).astype(np.float32)
        found.append(token)
    return found


def full_stream(case: Case) -> mcore.Stream:
    """A stream whose cache holds as many random checkpoints as it may."""
    stream = case.memory.stream()
    stream.feed(tokens(case, 1)[0])
    state = stream.state
    assert state is not None
    return case.memory.stream(_filled(case, state))


def _filled(case: Case, state: MemoryState) -> MemoryState:
    rng, lead = np.random.default_rng(SEED), (1, case.held, case.heads)
    states = rng.standard_normal((*lead, WIDTH * WIDTH), np.float32) / WIDTH**0.5
    stored = compact(states, case.memory.cache.dtype, WIDTH)
    contexts = rng.standard_normal((*lead, state.contexts.shape[-1]), np.float32)
    return replace(
        state,
        checkpoints=stored.codes,
        scales=stored.scales,
        contexts=contexts / np.float32(WIDTH),
        ledger=np.full((1, case.held, 3), SEGMENT, float),
        count=np.array([case.held]),
    )


class Plain:
    """The same token in plain NumPy: float32 arrays, no segment's end."""

    def __init__(self, case: Case, state: MemoryState) -> None:
        self.case, (heads, held) = case, (case.heads, case.held)
        checkpoints = expand(state.stored, "float32")[0].swapaxes(0, 1)
        self.cache = np.ascontiguousarray(checkpoints).reshape(heads, held, WIDTH, WIDTH)
        self.contexts = np.ascontiguousarray(state.contexts[0].swapaxes(0, 1))
        self.online = state.online[0].reshape(heads, WIDTH, WIDTH).copy()
        self.keys, self.length = state.keys[0].copy(), int(state.length[0])
        self.total = self.cache.sum(axis=1)

    def feed(self, token: Token) -> Array:
        """y (1, 1, H, V)."""
        q, k, v = (token[name][0, 0] for name in "qkv")
        self.online *= np.exp(token["log_decay"][0, 0])[:, None, None]
        self.online += k[:, :, None] * v[:, None, :]
        if self.case.readout == "residual":
            y: Array = (self.online + self.total).swapaxes(1, 2) @ q[..., None]
            return y[None, None, ..., 0]
        u = token["u"][0, 0] / np.float32(WIDTH**0.5)
        self.keys += k
        self.length += 1
        online = (u * self.keys).sum(axis=1, keepdims=True) / self.length
        logits = (self.contexts @ u[..., None])[..., 0]
        return self._read(q, logits, online)[None, None]

    def _read(self, q: Array, logits: Array, online: Array) -> Array:
        cache = self.cache
        if self.case.readout == "ssc" and self.case.held > TOP_K:
            chosen = np.argpartition(-logits, TOP_K - 1, axis=1)[:, :TOP_K]
            logits = np.take_along_axis(logits, chosen, axis=1)
            cache = cache[np.arange(len(q))[:, None], chosen]
        logits = np.concatenate([logits, online], axis=1)
        gates = np.exp(logits - logits.max(axis=1, keepdims=True))
        gates /= gates.sum(axis=1, keepdims=True)
        weights = gates[:, :-1, None] * q[:, None]
        seen = weights.reshape(len(q), 1, -1) @ cache.reshape(len(q), -1, WIDTH)
        mine = (gates[:, -1:] * q)[:, None] @ self.online
        both: Array = (seen + mine)[:, 0]
        return both


def check(case: Case) -> None:
    """Raise AssertionError unless NumPy finds the stream's answers, to the rounding of sums."""
    stream = full_stream(case)
    few = tokens(case, 5)
    stream.feed(few[0])
    assert stream.decodes and stream.state is not None
    plain = Plain(case, stream.state)
    for token in few[1:]:
        got, want = stream.feed(token), plain.feed(token)
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max(), case


class Timed:
    """One thing that is fed tokens, and its best time."""

    def __init__(self, feed: Callable[[Token], Array], case: Case) -> None:
        self.feed, self.count, self.best = feed, case.rounds_of, float("inf")
        self.tokens: Iterator[Token] = cycle(tokens(case, 16))
        for _ in range(4):
            feed(next(self.tokens))

    def round(self) -> None:
        """Time some tokens."""
        feed, some = self.feed, [next(self.tokens) for _ in range(self.count)]
        start = time.process_time()
        for token in some:
            feed(token)
        self.best = min(self.best, (time.process_time() - start) / self.count)

    @property
    def microseconds(self) -> float:
        """Of a token."""
        return 1e6 * self.best


def line(readout: str, heads: int, held: int, rounds: int) -> str:
    """A row of the table."""
    cases = [Case(readout, heads, held, dtype) for dtype in DTYPES]
    for case in cases:
        check(case)
    streams = [Timed(full_stream(case).feed, case) for case in cases]
    stream = full_stream(cases[0])
    stream.feed(tokens(cases[0], 1)[0])
    assert stream.state is not None
    plain = Timed(Plain(cases[0], stream.state).feed, cases[0])
    rate = 0.0
    for _ in range(rounds):
        for timed in (*streams, plain):
            timed.round()
        rate = max(rate, sgemm_rate())
    times = [f"{timed.microseconds:.1f}" for timed in (*streams, plain)]
    return f"| {' | '.join([readout, str(heads), str(held), *times, f'{rate / 1e9:.0f}'])} |"


def million(total: int) -> list[str]:
    """Cost of a token and resident memory along an endless stream through a bounded cache."""
    case = Case("ssc", 1, 1000, "float16")
    stream, few = full_stream(case), cycle(tokens(case, 1024))
    lines = [
        "",
        f"{total} tokens, ssc over {case.held} checkpoints in float16, one head:",
        "",
        "| tokens | us a token | resident MiB | sgemm GFLOP/s |",
        "| --- | --- | --- | --- |",
    ]
    part = total // 10
    for done in range(part, total + 1, part):
        start = time.process_time()
        for _ in range(part):
            stream.feed(next(few))
        cost = 1e6 * (time.process_time() - start) / part
        rate = sgemm_rate() / 1e9
        lines.append(f"| {done} | {cost:.1f} | {_resident():.0f} | {rate:.0f} |")
    return lines


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Measure, print the table and write it to benchmarks/results/."""
    parser = argparse.ArgumentParser(description="Time streaming decode, token by token.")
    parser.add_argument("--readouts", nargs="+", default=list(READOUTS))
    parser.add_argument("--heads", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--held", nargs="+", type=int, default=[10, 100, 1000, 10000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--million", action="store_true", help="feed a million tokens as well")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="or so many")
    given = parser.parse_args()
    lines = [
        f"Microseconds a token, one thread; {machine()}, OpenBLAS with {blas()} kernels.",
        "",
        f"| readout | H | N | {' | '.join(DTYPES)} | NumPy float32 | sgemm GFLOP/s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for readout in given.readouts:
        for heads in given.heads:
            for held in (n for n in given.held if n * heads <= 10000):
                lines.append(line(readout, heads, held, given.rounds))
                print(lines[-1], flush=True)
    lines += million(given.tokens) if given.million else []
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "decode.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
