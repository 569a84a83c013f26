"""What the second core is worth: a layer on one thread and on two, by the wall clock.

    python -m benchmarks cores

Many short rounds, the best of which counts: it falls into a quiet moment. The large sgemm on one
thread and on two, between the rounds, says what the machine gives.
"""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence

from benchmarks.problem import Problem
from benchmarks.results import RESULTS, Row, heading, load, path_of, publish, store, table
from mcore.bench.clock import Effort, interleave, sgemm_rate

PROBLEMS = [
    Problem(tokens=1024),
    Problem(segment=128, tokens=2048),
    Problem(width=128, tokens=1024),
    Problem(rule="gated_delta", tokens=1024),
]
QUICK = [Problem(rows=1, heads=2, width=8, segment=8, tokens=32)]
HEAD = ["layer", "one thread, ms", "two, ms", "speed-up", "of sgemm, GFLOP/s"]
WHAT = "Forward and backward of one memory layer on one thread and on two, wall clock."


def both(problem: Problem, threads: int) -> Callable[[], object]:
    """Forward and backward on so many threads."""
    memory = problem.memory("numba", threads)
    inputs, dy = problem.inputs(), problem.answers()

    def run() -> object:
        y, saved = memory.forward(inputs)
        return y, memory.backward(saved, dy)

    return run


def measure(problem: Problem, rounds: int) -> Row:
    """A row: best milliseconds, and sgemm in FLOP/s, for one thread and for two."""
    calls = {str(threads): both(problem, threads) for threads in (1, 2)}
    for call in calls.values():
        call()
    rates, seconds = {1: 0.0, 2: 0.0}, dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        found = interleave(calls, Effort(2, 3, 0.0)).seconds
        seconds = {name: min(seconds[name], found[name]) for name in calls}
        rates = {n: max(rates[n], sgemm_rate(Effort(n, wall=True))) for n in rates}
    return {**problem._asdict(), "seconds": seconds, "sgemm": list(rates.values())}


def lines(rows: Mapping[str, Row]) -> list[str]:
    """Markdown."""
    cells = []
    for name, row in rows.items():
        one, two = row["seconds"].values()
        slow, fast = row["sgemm"]
        sgemm = f"{fast / slow:.2f}x ({slow / 1e9:.0f} to {fast / 1e9:.0f})"
        cells.append([name, f"{1e3 * one:.1f}", f"{1e3 * two:.1f}", f"{one / two:.2f}x", sgemm])
    return heading(WHAT, rows) + table(HEAD, cells)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all rows, each kept at once; write and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks cores", description=WHAT)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--missing", action="store_true", help="rows that are not measured yet")
    parser.add_argument("--quick", action="store_true", help="one tiny row, to see that all works")
    parser.add_argument("--out", type=type(RESULTS), default=RESULTS, metavar="FOLDER")
    given = parser.parse_args(argv)
    if (os.cpu_count() or 1) < 2:
        raise SystemExit("one core only: there is nothing to measure")
    path = path_of("cores", given.out)
    for problem in QUICK if given.quick else PROBLEMS:
        if not (given.missing and problem.name in load(path)):
            store(path, problem.name, measure(problem, given.rounds))
    publish(path, lines(load(path)))
