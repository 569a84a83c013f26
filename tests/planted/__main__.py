"""Planted bugs before all theorems, as `mcore verify` would see them.

    PYTHONPATH=.:tests python -m planted              # the table of bugs
    PYTHONPATH=.:tests python -m planted BUG...       # some of them, with what is printed of each
    PYTHONPATH=.:tests python -m planted --correct    # the kernels without a mistake

A row says which theorem was to catch the bug, the CPU seconds of all theorems, which others broke;
(+) marks a bug that a theorem of the last column explains first.
"""

import argparse
import sys
import time
from collections.abc import Iterator

from mcore.testing.theorems.outcome import Report
from mcore.testing.theorems.search import Effort
from planted import bugs
from planted.bug import BUGS, Bug
from planted.kernel import Kernel
from planted.verifying import check, check_bug

ROW = "{:<36} {:<24} {:>6}  {}"


def row(bug: Bug, report: Report, seconds: float) -> str:
    """One line of the table."""
    broken = [outcome.theorem.name for outcome in report.broken]
    others = ", ".join(name for name in broken if name != bug.caught_by)
    if bug.caught_by not in broken:
        return ROW.format(bug.name, f"NOT BY {bug.caught_by}", f"{seconds:.1f} s", others)
    mark = "" if broken[0] == bug.caught_by else " (+)"
    return ROW.format(bug.name, bug.caught_by + mark, f"{seconds:.1f} s", others)


def show_bugs(names: list[str]) -> int:
    """Print a row for each bug; returns how many were not caught by their theorem."""
    missed, slowest, total = 0, 0.0, 0.0
    print(ROW.format("bug", "caught by", "time", "also broken"))
    for name in names or list(BUGS):
        begin = time.process_time()
        report = check_bug(BUGS[name], Effort())
        seconds = time.process_time() - begin
        slowest, total = max(slowest, seconds), total + seconds
        print(row(BUGS[name], report, seconds), flush=True)
        found = report[BUGS[name].caught_by].violation
        missed += found is None
        if names:
            print(f"    {BUGS[name].sentence}\n    {found}")
    print(f"{len(names or BUGS)} bugs, {missed} not caught; {total:.0f} s, slowest {slowest:.1f} s")
    return missed


def show_correct() -> int:
    """Print a line for each correct kernel that bugs are planted in; returns how many broke."""
    failed = 0
    for name, kernel in _correct():
        begin = time.process_time()
        report = check(kernel, True, Effort())
        broken = ", ".join(outcome.theorem.name for outcome in report.broken) or "nothing"
        failed += not report.ok
        print(f"{name:<40} breaks {broken:<20} {time.process_time() - begin:6.1f} s", flush=True)
    return failed


def _correct() -> Iterator[tuple[str, Kernel]]:
    kernels = {}
    for bug in BUGS.values():
        made = bug.correct
        readout = made.readout if isinstance(made.readout, str) else made.readout["kind"]
        kernels[f"{made.recurrence} x {readout} ({made.start})"] = made
    yield from sorted(kernels.items())


def main() -> int:
    """The exit status is 1 if anything came out otherwise than it should."""
    assert bugs.__all__
    parser = argparse.ArgumentParser(prog="python -m planted", description="Planted bugs.")
    parser.add_argument("bugs", nargs="*", choices=[*BUGS, []], metavar="BUG", help="all, or some")
    parser.add_argument("--correct", action="store_true", help="the kernels without a mistake")
    chosen = parser.parse_args()
    return bool(show_correct() if chosen.correct else show_bugs(chosen.bugs))


if __name__ == "__main__":
    sys.exit(main())
