"""The table of planted bugs: `PYTHONPATH=.:tests python -m planted [BUG]...`.

Every theorem is tried on every bug, as `mcore verify` would. A row says which theorem was to catch
it, whether that one is the report's diagnosis, which others broke too, and how long all of it took.
"""

import sys
import time

from mcore.testing.theorems.outcome import Report
from mcore.testing.theorems.search import Effort
from planted import bugs
from planted.bug import BUGS, Bug
from planted.verifying import check_bug

ROW = "{:<36} {:<22} {:>6}  {}"


def row(bug: Bug, report: Report, seconds: float) -> str:
    """One line of the table."""
    broken = [outcome.theorem.name for outcome in report.broken]
    if bug.caught_by not in broken:
        return ROW.format(bug.name, f"NOT BY {bug.caught_by}", f"{seconds:.1f} s", _list(broken))
    mark = "" if broken[0] == bug.caught_by else " (+)"
    others = [name for name in broken if name != bug.caught_by]
    return ROW.format(bug.name, bug.caught_by + mark, f"{seconds:.1f} s", _list(others))


def _list(names: list[str]) -> str:
    return ", ".join(names)


def main(names: list[str]) -> int:
    """Print a row for each bug, then the sums; the exit status is the number not caught."""
    assert bugs.__all__
    missed, slowest, total = 0, 0.0, 0.0
    print(ROW.format("bug", "caught by", "time", "also broken"))
    for name in names or list(BUGS):
        begin = time.perf_counter()
        report = check_bug(BUGS[name], Effort())
        seconds = time.perf_counter() - begin
        missed += BUGS[name].caught_by not in {o.theorem.name for o in report.broken}
        slowest, total = max(slowest, seconds), total + seconds
        print(row(BUGS[name], report, seconds), flush=True)
    print(f"{len(names or BUGS)} bugs, {missed} not caught; {total:.0f} s, slowest {slowest:.1f} s")
    print("(+): a theorem in the last column comes first in the report")
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
