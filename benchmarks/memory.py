"""What forward and backward of a layer take beside their inputs: peak resident memory.

    python -m benchmarks memory

Each contender runs in a process of its own: first on a few tokens, so that code and kernels are
loaded, then once at full size, while the system keeps the peak. y and all gradients count: they
alone are as large as the inputs, which are q, k, v, u and the gradient of y.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peers import PEERS, make, missing
from benchmarks.problem import Problem
from benchmarks.results import RESULTS, Row, heading, load, path_of, publish, store, table
from mcore.bench.peak import extra_bytes

PROBLEMS = [
    Problem(tokens=2048),
    Problem(tokens=4096),
    Problem(rows=2, segment=256, tokens=8192),
]
QUICK = [Problem(rows=1, heads=2, width=8, segment=8, tokens=32)]
NAMES = ("mcore", "torch, stacked", "torch, pairs", "numpy")
HEAD = ["d / L / T", "inputs MB", "by", "extra MB", "extra, of inputs", "against mcore"]
WHAT = "Peak memory of forward and backward beside the inputs of a layer (`linear` + `grm`)."
MB = 1 << 20
ROOT = Path(__file__).resolve().parents[1]


def extra(name: str, problem: Problem) -> int:
    """Bytes that this process takes beside the inputs."""
    small = problem._replace(tokens=2 * problem.segment)
    for _ in range(2):
        make(name, small, small.inputs(), small.answers()).both()
    contender = make(name, problem, problem.inputs(), problem.answers())
    taken = extra_bytes(contender.both)
    if taken is None:
        raise SystemExit("this system does not say what a process takes: Linux does")
    return taken


def extra_elsewhere(name: str, problem: Problem) -> int:
    """`extra` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", "memory", "--one", name, json.dumps(problem)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return int(done.stdout)


def input_bytes(problem: Problem) -> int:
    """Of all that forward and backward are given: the inputs, and the gradient of y."""
    return sum(x.nbytes for x in problem.inputs().values()) + problem.answers().nbytes


def lines(rows: Mapping[str, Row]) -> list[str]:
    """Markdown."""
    cells = []
    for row in rows.values():
        ours, inputs = row["extra"]["mcore"], row["inputs"]
        for name, taken in row["extra"].items():
            sizes = f"{row['width']} / {row['segment']} / {row['tokens']}"
            shares = [f"{taken / inputs:.2f}x", f"{taken / ours:.1f}x"]
            cells.append([sizes, f"{inputs / MB:.0f}", name, f"{taken / MB:.0f}", *shares])
    return heading(WHAT, rows) + table(HEAD, cells)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    found = argparse.ArgumentParser(prog="python -m benchmarks memory", description=WHAT)
    found.add_argument("--peers", nargs="+", choices=PEERS, default=list(NAMES), metavar="NAME")
    found.add_argument("--missing", action="store_true", help="rows that are not measured yet")
    found.add_argument("--quick", action="store_true", help="one tiny row, to see that all works")
    found.add_argument("--one", nargs=2, metavar=("NAME", "PROBLEM"), help="in this process")
    found.add_argument("--out", type=type(RESULTS), default=RESULTS, metavar="FOLDER")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all rows, each kept at once; write and print the table."""
    given = parser().parse_args(argv)
    if given.one:
        print(extra(given.one[0], Problem(*json.loads(given.one[1]))))
        return
    path = path_of("memory", given.out)
    for said in filter(None, map(missing, given.peers)):
        print(said, file=sys.stderr)
    names = [name for name in given.peers if not missing(name)]
    for problem in QUICK if given.quick else PROBLEMS:
        if given.missing and problem.name in load(path):
            continue
        found = {name: extra_elsewhere(name, problem) for name in names}
        row = {**problem._asdict(), "inputs": input_bytes(problem), "extra": found}
        store(path, problem.name, row)
    publish(path, lines(load(path)))
