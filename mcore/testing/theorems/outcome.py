"""What came of checking: a theorem's outcome, and the report of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mcore.testing.theorems.case import Case
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import Fault, Mistyped, Violation


@dataclass(frozen=True)
class Outcome:
    """One theorem on one subject.

    Attributes:
        theorem: which.
        tried: cases.
        worst: largest relative error of those that passed, or that of the counterexample.
        seconds: it took.
        case, violation: a small counterexample and what is wrong there; None if it holds.
        not_applicable: why it was not tried.
    """

    theorem: Theorem
    tried: int = 0
    worst: float = 0.0
    seconds: float = 0.0
    case: Case | None = None
    violation: Violation | None = None
    not_applicable: str | None = None

    @property
    def verdict(self) -> str:
        """`holds`, `broken` or `not applicable`."""
        if self.not_applicable is not None:
            return "not applicable"
        return "holds" if self.violation is None else "broken"


@dataclass(frozen=True)
class Report:
    """All outcomes of one subject.

    Attributes:
        subject: its name.
        outcomes: in the order of `THEOREMS`: those that few bugs can break come first.
    """

    subject: str
    outcomes: Sequence[Outcome]

    @property
    def ok(self) -> bool:
        """Whether nothing is broken."""
        return not self.broken

    @property
    def broken(self) -> list[Outcome]:
        """What is broken, the most telling first.

        Where every ordinary call fails, `agreement` says so best: what else stumbles over that
        comes after it. So does a wrong dtype, which explains no wrong number.
        """
        broken = [outcome for outcome in self.outcomes if outcome.violation is not None]
        everywhere = any(
            outcome.theorem.name == "agreement" and isinstance(outcome.violation, Fault)
            for outcome in broken
        )
        weak = (Mistyped, Fault) if everywhere else Mistyped
        return sorted(broken, key=lambda outcome: _is_weak(outcome, weak))

    @property
    def diagnosis(self) -> Outcome | None:
        """The most telling theorem that is broken."""
        return next(iter(self.broken), None)

    def __str__(self) -> str:
        """As `mcore verify` prints it."""
        from mcore.testing.theorems.words import explanation, table

        told = [] if self.ok else ["", *explanation(self)]
        return "\n".join([self.subject, *table(self), *told])

    def __getitem__(self, name: str) -> Outcome:
        return next(outcome for outcome in self.outcomes if outcome.theorem.name == name)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as `mcore verify --json` prints it."""
        diagnosis = self.diagnosis
        return {
            "subject": self.subject,
            "ok": self.ok,
            "diagnosis": diagnosis.theorem.name if diagnosis else None,
            "theorems": [_plain(outcome) for outcome in self.outcomes],
        }


def _is_weak(outcome: Outcome, weak: type | tuple[type, ...]) -> bool:
    return outcome.theorem.name not in ("agreement", "borders") and isinstance(
        outcome.violation, weak
    )


def _plain(outcome: Outcome) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "name": outcome.theorem.name,
        "sentence": outcome.theorem.sentence,
        "verdict": outcome.verdict,
    }
    if outcome.not_applicable is not None:
        return plain | {"why": outcome.not_applicable}
    worst = outcome.worst if outcome.worst < float("inf") else None
    plain |= {"tried": outcome.tried, "worst": worst, "seconds": round(outcome.seconds, 3)}
    if outcome.case is not None:
        plain |= {"counterexample": _plain_case(outcome.case), "what": str(outcome.violation)}
    return plain


def _plain_case(case: Case) -> dict[str, Any]:
    recurrence, readout, start = case.axes
    return {
        "recurrence": recurrence,
        "readout": readout,
        "start": start,
        "lengths": list(case.lengths),
        "sizes": case.sizes._asdict(),
        "seed": case.seed,
        "inputs": {name: array.tolist() for name, array in case.inputs.items()},
    }
