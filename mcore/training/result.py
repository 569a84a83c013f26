"""What a run comes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from mcore.errors import SnapshotError
from mcore.training.numbers import number, word


@dataclass(frozen=True)
class Result:
    """The closing numbers of a finished run.

    Attributes:
        run: its folder.
        metric: `accuracy`, `bits_per_byte` or `mae`; `value` is that of the last parameters on the
            held-out data, `best` the best of all evaluations, `loss` mean nats a label, `more`
            other numbers beside `value`.
        parameters: how many numbers were trained.
        state_bytes: what one stream keeps after `data.length` tokens.
        tokens_per_second: training speed; None when no step after the first was timed.
        seconds: time spent in training steps.
        compression: (compressor, bits per byte) on the same held-out files; text only.
        comparison: results of the variants in `compare`, by name.
    """

    run: Path
    step: int
    loss: float
    metric: str
    value: float
    best: float
    parameters: int
    state_bytes: int
    tokens_per_second: float | None
    seconds: float
    compression: tuple[tuple[str, float], ...] = ()
    more: Mapping[str, float] = field(default_factory=dict)
    comparison: Mapping[str, "Result"] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the folder and the comparison: each run keeps its own."""
        names = [f.name for f in fields(self) if f.name not in ("run", "comparison")]
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_json(cls, run: Path, content: Mapping[str, Any]) -> Self:
        """A result that `to_json` gave.

        Raises: SnapshotError when it gave no such thing.
        """
        try:
            pairs = [(word(name), number(bits)) for name, bits in content["compression"]]
            for name in ("step", "loss", "value", "best", "parameters", "state_bytes", "seconds"):
                number(content[name])
            number(content["tokens_per_second"] or 0)
            word(content["metric"])
            result = cls(run=run, **{**content, "compression": tuple(pairs)})
        except (KeyError, TypeError, ValueError) as error:
            raise SnapshotError(f"{run / 'result.json'}: is damaged: {error}; drop it") from None
        if result.comparison:
            raise SnapshotError(f"{run / 'result.json'}: is damaged; drop it")
        return result
