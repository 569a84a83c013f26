"""Many streams in a pool beside as many sessions: tokens a second, one token a stream at a time.

    python -m benchmarks pool                       # 1000 streams, about two minutes
    python -m benchmarks pool --models quickstart --streams 100 1000

Streams are at different positions and hold different numbers of checkpoints: each is first fed
between 1 and `--before` tokens. Answers of all streams are compared with those of the sessions
before anything is timed. A turn is one token for every stream, or (half) for a random half of them;
timed with the processor's clock on one thread, best of several turns between which pool and
sessions alternate. Writes benchmarks/results/pool-*.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import mcore
from benchmarks.machine import blas
from benchmarks.results import Row, heading, load, path_of, publish, store, table
from benchmarks.stream_models import MODELS, VOCAB, compiled
from mcore.arrays import Array
from mcore.session import Session

TABLE, SEED, BOUND = "pool", 0, 1e-3
HEAD = ("model", "streams", "pool us", "session us", "ratio", "half us", "half ratio")

Feeds = dict[int, Array]


@dataclass
class Streams:
    """A pool, and sessions that were fed the same."""

    pool: mcore.SessionPool
    alone: list[Session]
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED))

    @classmethod
    def of(cls, name: str, count: int, before: int) -> "Streams":
        """Streams through a model, at positions from 1 to `before`."""
        model = compiled(name)
        streams = cls(mcore.SessionPool(model), [model.session() for _ in range(count)])
        lengths = streams.rng.integers(1, before + 1, count).tolist()
        for i in range(count):
            streams.pool.add(i)
        fed = {i: streams.rng.integers(0, VOCAB, n) for i, n in enumerate(lengths)}
        streams.pool.feed(fed)
        for i, x in fed.items():
            streams.alone[i].feed(x)
        return streams

    def turn(self, share: float = 1.0) -> Feeds:
        """A token for a random share of the streams."""
        count = len(self.alone)
        some = self.rng.permutation(count)[: int(share * count)]
        return {i: self.rng.integers(0, VOCAB, 1) for i in sorted(some.tolist())}

    def feed_alone(self, feeds: Feeds) -> Feeds:
        """The sessions' answers."""
        return {i: self.alone[i].feed(x) for i, x in feeds.items()}

    def check(self) -> float:
        """Largest difference of an answer; raises AssertionError unless it is rounding."""
        worst = 0.0
        for share in (1.0, 0.5, 1.0):
            feeds = self.turn(share)
            got, want = self.pool.feed(feeds), self.feed_alone(feeds)
            largest = max(float(np.abs(y).max()) for y in want.values())
            worst = max(worst, *(float(np.abs(got[i] - want[i]).max()) / largest for i in feeds))
        assert worst < BOUND, worst
        return worst


def best(feed: Callable[[Feeds], Any], turns: list[Feeds]) -> float:
    """Seconds of a token, the best of some turns."""
    found = float("inf")
    for feeds in turns:
        start = time.process_time()
        feed(feeds)
        found = min(found, (time.process_time() - start) / len(feeds))
    return found


def measure(name: str, count: int, before: int, rounds: int) -> Row:
    """Microseconds of a token in a pool and alone."""
    streams = Streams.of(name, count, before)
    row: Row = {"model": name, "streams": count, "difference": streams.check()}
    for key, share in (("all", 1.0), ("half", 0.5)):
        pooled = single = float("inf")
        for _ in range(rounds):
            pooled = min(pooled, best(streams.pool.feed, [streams.turn(share) for _ in range(5)]))
            single = min(single, best(streams.feed_alone, [streams.turn(share)]))
        row |= {f"{key} pool": 1e6 * pooled, f"{key} single": 1e6 * single}
    return row


def lines(rows: dict[str, Row]) -> list[str]:
    """The table."""
    cells = []
    for row in rows.values():
        whole, half = (row[f"{key} single"] / row[f"{key} pool"] for key in ("all", "half"))
        numbers = row["all pool"], row["all single"], whole, row["half pool"], half
        cells.append([row["model"], str(row["streams"]), *(f"{x:.1f}" for x in numbers)])
    about = "Microseconds of a token in a pool and in sessions, one thread;"
    return [*heading(about, rows), *table(HEAD, cells)]


def main() -> None:
    """Measure, print the table and write it to benchmarks/results/."""
    parser = argparse.ArgumentParser(description="Time pooled streams beside single sessions.")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--streams", nargs="+", type=int, default=[1000])
    parser.add_argument("--before", type=int, default=600, help="most tokens before the timing")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    path = path_of(TABLE)
    for name in given.models:
        for count in given.streams:
            row = measure(name, count, given.before, given.rounds)
            store(path, f"{name} {count}", row)
            print(f"{name}, {count} streams: {row} ({blas()})", flush=True)
    publish(path, lines(load(path)))


if __name__ == "__main__":
    main()
