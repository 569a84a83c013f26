"""A session token by token: its cost beside its memories alone, and along a million tokens.

    python -m benchmarks stream               # every small model, a minute
    python -m benchmarks stream --million     # a million tokens as well, flat or not: 4 minutes

One stream, one thread, a bounded cache. `memories` is what the same token costs in the streams of
the model's memories alone (`Memory.stream`); the rest is dense layers and Python. Timed with the
processor's clock, best of several rounds. Along a million tokens, cost (of all, and of the best 500
one after another, which does not see who else uses the machine) and resident memory are given for
each tenth. Writes benchmarks/results/stream-*.
"""

import argparse
import os
import time
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import Row, heading, load, path_of, publish, store, table
from benchmarks.stream_models import MODELS, VOCAB, compiled
from mcore.arrays import Array
from mcore.model import Model
from mcore.session import Session
from mcore.stream import Stream

SEED, BEFORE, MANY, MILLION = 0, 1200, 500, "a million tokens"


class Listening(Stream):
    """A stream that keeps what it was fed last."""

    heard: dict[str, Any]

    def feed(self, inputs: Any, *, document: object = None) -> Array:
        """As a stream, with ears."""
        self.heard = {name: np.array(x) for name, x in inputs.items()}
        return super().feed(inputs, document=document)


def begun(model: Model) -> Session:
    """A session whose cache is full."""
    session = model.session()
    for token in np.random.default_rng(SEED).integers(0, VOCAB, (BEFORE, 1)):
        session.feed(token)
    return session


def memories_of(model: Model) -> list[tuple[Stream, dict[str, Any]]]:
    """The streams of a model's memories, with full caches, and a token for each."""
    found = []
    session = begun(model)
    for name, x in list(session._carried.items()):
        if isinstance(x, Stream):
            listening = Listening(x.memory, x.state, None)
            session._carried[name] = listening
            found.append(listening)
    session.feed(np.zeros(1, np.int64))
    return [(stream.memory.stream(stream.state), stream.heard) for stream in found]


def measure(name: str, rounds: int) -> Row:
    """Microseconds of a token in a session, and in its memories."""
    model = compiled(name)
    session, memories = begun(model), memories_of(model)
    tokens = np.random.default_rng(SEED).integers(0, VOCAB, (MANY, 1))
    whole = alone = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for token in tokens:
            session.feed(token)
        whole = min(whole, (time.process_time() - start) / MANY)
        start = time.process_time()
        for _ in range(MANY):
            for stream, heard in memories:
                stream.feed(heard)
        alone = min(alone, (time.process_time() - start) / MANY)
    return {"model": name, "session": 1e6 * whole, "memories": 1e6 * alone}


def million(total: int, name: str) -> Row:
    """Cost of a token and resident memory in each tenth of an endless stream."""
    session, part = compiled(name).session(), total // 10
    tokens = cycle(np.random.default_rng(SEED).integers(0, VOCAB, (4096, 1)))
    row: Row = {"model": name, "part": part, "mean": [], "best": [], "MiB": [], "state": []}
    for _ in range(10):
        costs = []
        for _ in range(max(part // MANY, 1)):
            start = time.process_time()
            for _ in range(MANY):
                session.feed(next(tokens))
            costs.append(1e6 * (time.process_time() - start) / MANY)
        found = {"mean": sum(costs) / len(costs), "best": min(costs), "MiB": _resident()}
        for key, x in (found | {"state": session.nbytes}).items():
            row[key].append(x)
        print(found, flush=True)
    return row


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def lines(rows: dict[str, Row]) -> list[str]:
    """Both tables."""
    short = [row for name, row in rows.items() if name != MILLION]
    cells = [[r["model"], f"{r['session']:.0f}", f"{r['memories']:.1f}"] for r in short]
    about = "Microseconds of a token in a session and in its memories alone, one thread;"
    found = [*heading(about, rows), *table(("model", "session us", "memories us"), cells)]
    if MILLION in rows:
        long = rows[MILLION]
        found += ["", f"One session of {long['model']}, a bounded cache, token by token:", ""]
        ends = [long["part"] * (i + 1) for i in range(10)]
        columns = zip(ends, *(long[key] for key in ("best", "mean", "MiB", "state")), strict=True)
        cells = [
            [str(end), f"{best:.1f}", f"{mean:.1f}", f"{mib:.1f}", str(size)]
            for end, best, mean, mib, size in columns
        ]
        head = ("tokens", "us a token, best 500", "mean", "resident MiB", "state bytes")
        found += table(head, cells)
    return found


def main() -> None:
    """Measure, print the tables and write them to benchmarks/results/."""
    parser = argparse.ArgumentParser(description="Time a session, token by token.")
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--million", action="store_true", help="feed a million tokens as well")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="or so many")
    given = parser.parse_args()
    path = path_of("stream")
    for name in given.models:
        store(path, name, measure(name, given.rounds))
    if given.million:
        store(path, MILLION, million(given.tokens, "one block"))
    publish(path, lines(load(path)))


if __name__ == "__main__":
    main()
