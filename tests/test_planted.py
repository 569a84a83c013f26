"""The theorems find mistakes: each planted bug is caught by the one that should catch it.

`PYTHONPATH=.:tests python -m planted` tries every theorem on every bug, and with `--correct` on
every kernel without one.
"""

import re
from pathlib import Path

import pytest
from planted import bugs
from planted.bug import BUGS, Bug
from planted.menu import kernel
from planted.verifying import check, check_bug

from mcore.testing.theorems import THEOREMS
from mcore.testing.theorems.search import Effort

FEW = Effort(examples=3)
SPREAD = (
    ("linear", "residual", "checkpoint"),
    ("linear", "ssc", "independent"),
    ("gated_linear", "grm", "checkpoint"),
    ("gla", "grm", "independent"),
    ("delta", "soup", "checkpoint"),
    ("gated_delta", "sigmoid", "independent"),
    ("mlstm", "grm", "independent"),
    ("dla", "soup", "independent"),
    ("titans", "ssc", "checkpoint"),
    ("lstm", "moving_average", "independent"),
    ("gru", "grm", "checkpoint"),
    ("lstm", "none", "checkpoint"),
)
"""Each rule, each readout and both starts."""


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_is_caught_by_its_theorem(bug: Bug) -> None:
    found = check_bug(bug, Effort(), [bug.caught_by])[bug.caught_by]
    assert found.verdict == "broken", f"{bug.sentence} {found.theorem.sentence} all the same"
    without = check(bug.correct, bug.in_backward, FEW, [bug.caught_by])[bug.caught_by]
    assert without.verdict == "holds", f"a false alarm: {without.violation}"


@pytest.mark.parametrize("composition", SPREAD, ids="-".join)
def test_a_kernel_without_a_mistake_breaks_nothing(composition: tuple[str, str, str]) -> None:
    report = check(kernel(*composition), True, FEW)
    assert report.ok, [str(outcome.violation) for outcome in report.broken]


PAGE = Path(__file__).resolve().parents[1] / "docs" / "mistakes.md"


def test_the_page_of_mistakes_names_bugs_and_their_theorems() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    told = {match[1]: row for row in rows if (match := re.search(r"`(\w+)`$", row[0]))}
    assert {bug.name for bug in BUGS.values() if bug.seen} <= set(told) | TWICE
    for name, row in told.items():
        assert f"`{BUGS[name].caught_by}`" in row[2], f"{name}: {BUGS[name].caught_by}"


TWICE = {"starts_at_zero_without_momentum"}
"""What the page tells of another bug."""


def test_every_theorem_about_kernels_has_a_bug() -> None:
    assert bugs.__all__
    assert {bug.caught_by for bug in BUGS.values()} == set(THEOREMS)
    assert len(BUGS) >= 100
