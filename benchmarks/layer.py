"""One memory layer, forward and backward, by mcore and by others: one thread, processor's clock.

    python -m benchmarks layer                    # all rows; about eight minutes
    python -m benchmarks layer --missing          # only those that are not in the results yet
    python -m benchmarks layer --only N=16        # those whose name contains N=16

Contenders run in turns in one process, and the rate of a large sgemm is measured between the
rounds; the best round counts. Before, mcore is compared with the reference in float64, and every
contender with mcore, at full size: y and all gradients. Of PyTorch's eager forms the faster one is
reported. Other rules and readouts run beside `linear` + `grm` of their size. Useful FLOPs are those
that `mcore plan` counts.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence

from benchmarks.agree import check_small, checked
from benchmarks.layer_table import LINEAR_NAME, lines
from benchmarks.peers import PEERS, Contender, make, missing
from benchmarks.problem import Problem
from benchmarks.results import RESULTS, Row, load, path_of, publish, store
from mcore.bench.clock import Effort, interleave

FORMS = ("torch, stacked", "torch, pairs")
LINEAR = [
    Problem(tokens=1024),
    Problem(tokens=2048),
    Problem(tokens=4096),
    Problem(width=128, tokens=2048),
    Problem(width=32, tokens=4096),
    Problem(segment=128, tokens=4096),
    Problem(segment=256, tokens=4096),
]
RULES = ("gated_linear", "gated_delta", "gla", "rwkv7", "mlstm")
OTHERS = [
    Problem(readout="ssc", tokens=4096),
    *(Problem(rule=rule, tokens=2048) for rule in RULES),
]
QUICK = [Problem(rows=1, heads=2, width=8, segment=8, tokens=32)]


def contenders(problem: Problem, names: Sequence[str]) -> dict[str, Contender]:
    """Those that take part, warm, all with the same answer; the slower of two forms left out."""
    inputs, dy, made, wanted = problem.inputs(), problem.answers(), dict[str, Contender](), None
    for name in names:
        made[name] = make(name, problem, inputs, dy)
        start = time.perf_counter()
        found = checked(name, made[name], wanted)
        wanted = wanted or found
        print(f"  {name}: agrees, {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    both = [name for name in FORMS if name in made]
    if len(both) > 1:
        best = {name: min(Effort().timed(made[name].both) for _ in range(2)) for name in both}
        del made[max(both, key=lambda name: best[name])]
    return made


def measure(problem: Problem, names: Sequence[str], effort: Effort) -> Row:
    """A row of numbers: seconds of forward, and of forward and backward, by contender."""
    error = check_small(problem)
    made = contenders(problem, names)
    if not problem.simplest:
        plain = problem._replace(rule="linear", readout="grm")
        made[LINEAR_NAME] = make("mcore", plain, plain.inputs(), plain.answers())
        made[LINEAR_NAME].both()
    calls = {f"{name} {part}": getattr(c, part) for name, c in made.items() for part in PARTS}
    timing = interleave(calls, effort)
    seconds = {n: {p: timing.seconds[f"{n} {p}"] for p in PARTS} for n in made}
    sizes = {**problem._asdict(), "flops": problem.flops, "error": error}
    return {**sizes, "sgemm": timing.sgemm, "seconds": seconds}


PARTS = ("forward", "both")


def takes_part(name: str, problem: Problem, given: argparse.Namespace) -> bool:
    """Whether a contender is measured on a problem."""
    if name == "torch.compile" and not given.compile:
        return False
    fits = problem.simplest and problem.segments <= PEERS[name].segments
    return name in given.peers and (name == "mcore" or fits)


def ordered(rows: Mapping[str, Row]) -> dict[str, Row]:
    """As they are listed here, in whatever order they were measured."""
    listed = [p.name for p in LINEAR + OTHERS if p.name in rows]
    return {name: rows[name] for name in listed} | dict(rows)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    found = argparse.ArgumentParser(
        prog="python -m benchmarks layer", description="Time memory layers beside their peers."
    )
    found.add_argument("--only", default="", metavar="TEXT", help="rows whose name contains it")
    found.add_argument("--missing", action="store_true", help="rows that are not measured yet")
    found.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="NAME")
    found.add_argument("--no-compile", dest="compile", action="store_false", help="spare minutes")
    found.add_argument("--rounds", type=int, default=3, help="at least")
    found.add_argument("--seconds", type=float, default=8.0, help="per row, at least")
    found.add_argument("--quick", action="store_true", help="one tiny row, to see that all works")
    found.add_argument("--out", type=type(RESULTS), default=RESULTS, metavar="FOLDER")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the asked-for rows one by one, each kept at once; write and print the tables."""
    given = parser().parse_args(argv)
    path = path_of("layer", given.out)
    for name in list(given.peers):
        if said := missing(name):
            print(said, file=sys.stderr)
            given.peers.remove(name)
    problems = [p for p in (QUICK if given.quick else LINEAR + OTHERS) if given.only in p.name]
    for problem in problems:
        if given.missing and problem.name in load(path):
            continue
        print(problem.name, file=sys.stderr)
        names = [name for name in given.peers if takes_part(name, problem, given)]
        effort = Effort(1, given.rounds, given.seconds)
        store(path, problem.name, measure(problem, names, effort))
    publish(path, lines(ordered(load(path))))
