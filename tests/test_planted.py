"""The theorems find mistakes: each planted bug is caught by the one that should catch it.

`PYTHONPATH=.:tests python -m planted` tries every theorem on every bug.
"""

import pytest
from planted import bugs
from planted.bug import BUGS, Bug
from planted.kernel import Kernel
from planted.verifying import check, check_bug

from mcore.testing.theorems import THEOREMS
from mcore.testing.theorems.search import Effort

EFFORT = Effort()
FEW = Effort(examples=6)
KERNELS: dict[tuple[str, str, str], Kernel] = {
    (bug.correct.recurrence, str(bug.correct.readout), bug.correct.start): bug.correct
    for bug in BUGS.values()
}


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_is_caught_by_its_theorem(bug: Bug) -> None:
    report = check_bug(bug, EFFORT, [bug.caught_by])
    found = report[bug.caught_by]
    assert found.verdict == "broken", f"{bug.sentence} {found.theorem.sentence} all the same"


@pytest.mark.parametrize("composition", KERNELS, ids="-".join)
def test_kernels_without_a_mistake_break_nothing(composition: tuple[str, str, str]) -> None:
    report = check(KERNELS[composition], True, FEW)
    assert report.ok, [str(outcome.violation) for outcome in report.broken]


def test_there_are_bugs_for_every_theorem_about_kernels() -> None:
    assert bugs.__all__
    assert {bug.caught_by for bug in BUGS.values()} <= set(THEOREMS)
    assert len(BUGS) >= 100
