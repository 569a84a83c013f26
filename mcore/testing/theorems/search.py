"""Try a theorem on many cases; of those that break it, find a small one."""

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis import strategies as st

from mcore.testing.theorems.case import Case, cases, typical
from mcore.testing.theorems.outcome import Outcome
from mcore.testing.theorems.simplify import simplify
from mcore.testing.theorems.subject import Subject
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import Endless, Untold, Violation


@dataclass(frozen=True)
class Effort:
    """How hard to look.

    Attributes:
        examples: cases per theorem at most.
        seed: of their choice.
        seconds: for one theorem: no new case is begun after that.
    """

    examples: int = 50
    seed: int = 0
    seconds: float = 2.5


class _Trial:
    """One theorem on one subject: what was tried so far, and what broke it."""

    def __init__(self, theorem: Theorem, subject: Subject, effort: Effort) -> None:
        self.theorem, self.subject = theorem, subject
        self.until = time.monotonic() + effort.seconds
        self.tried, self.worst = 0, 0.0
        self.untold: list[str] = []
        self.broken: list[tuple[Case, Violation]] = []

    def __call__(self, case: Case) -> None:
        """Check a case, unless the time is up; once one is broken, there is time to shrink it."""
        if time.monotonic() > self.until:
            return
        if not self.broken:
            self.tried += 1
        try:
            error = self.theorem.check(self.subject, case)
        except Untold as reason:
            self.untold.append(str(reason))
            return
        except Violation as violation:
            self.broken.append((case, violation))
            if isinstance(violation, Endless):
                self.until = 0.0
            raise
        self.worst = max(self.worst, error)

    def smallest(self) -> tuple[Case, Violation] | None:
        """The least case that broke it."""
        return min(self.broken, key=lambda pair: _size(pair[0]), default=None)


def _size(case: Case) -> tuple[int, ...]:
    numbers = sum(array.size for array in case.inputs.values())
    return numbers, len(case.lengths), case.seed


def search(theorem: Theorem, subject: Subject, effort: Effort) -> Outcome:
    """The outcome of a theorem on a subject."""
    reason = theorem.missing(subject)
    if reason is not None:
        return Outcome(theorem, not_applicable=reason)
    begin, trial = time.monotonic(), _Trial(theorem, subject, effort)
    choice = [axes for axes in subject.axes if theorem.applies(axes) is None]
    with suppress(Violation):
        trial(typical(choice[effort.seed % len(choice)], theorem.cuts, effort.seed + 7))
    _run(trial, cases(st.sampled_from(choice), theorem.cuts), effort)
    found = trial.smallest()
    if found is None and len(trial.untold) >= trial.tried:
        return Outcome(theorem, not_applicable=trial.untold[0])
    if found is None:
        return Outcome(theorem, trial.tried, trial.worst, time.monotonic() - begin)
    if not isinstance(found[1], Endless):
        found = simplify(theorem, subject, found, effort.seconds / 2)
    case, violation = found
    seconds = time.monotonic() - begin
    return Outcome(theorem, trial.tried, violation.error, seconds, case, violation)


def _run(trial: _Trial, strategy: st.SearchStrategy[Case], effort: Effort) -> None:
    """Hypothesis over the cases. What it raises in the end, the trial has recorded: a kernel with a
    memory of its own may break a case once and not again."""
    quiet: Any = hypothesis.settings(
        max_examples=max(1, effort.examples - 1),
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )
    run = hypothesis.seed(effort.seed)(quiet(hypothesis.given(strategy)(lambda case: trial(case))))
    try:
        run()
    except (Violation, hypothesis.errors.Flaky):
        if not trial.broken:
            raise
