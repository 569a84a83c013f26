"""Where a run stands, apart from its arrays: what a snapshot keeps as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from mcore.training.evaluate import Evaluation
from mcore.training.numbers import count, number, word


@dataclass
class State:
    """Counters of a run.

    Attributes:
        step: steps done.
        evaluated: step of the last evaluation, 0 before the first.
        evaluation: what it gave.
        best: value of the best evaluation.
        seconds: time spent in training steps, over all sessions.
    """

    step: int = 0
    evaluated: int = 0
    evaluation: Evaluation | None = None
    best: float | None = None
    seconds: float = 0.0

    def point(self) -> tuple[int, int]:
        """Two states of one run are the same when these are."""
        return self.step, self.evaluated

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """A state that `to_json` gave.

        Raises: KeyError, TypeError, ValueError when it gave no such thing.
        """
        given, best = content["evaluation"], content["best"]
        if given is not None:
            number(given["loss"])
            number(given["value"])
            word(given["metric"])
        return cls(
            step=count(content["step"]),
            evaluated=count(content["evaluated"]),
            evaluation=None if given is None else Evaluation(**given),
            best=None if best is None else number(best),
            seconds=number(content["seconds"]),
        )
