"""Lines of the output: of a token, what came and what may come; of a vector, the head's answer."""

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mcore.arrays import Array

if TYPE_CHECKING:
    from mcore.model import Model

DIGITS = 6
"""Of a number that is shown."""


@dataclass
class Score:
    """How well tokens were predicted so far.

    Attributes:
        bits: sum of -log2 of the probability that each token had before it came.
        scored: number of tokens that a prediction came before.
        last: the last logits (V,); None before the first token.
    """

    bits: float = 0.0
    scored: int = 0
    last: Array | None = None

    @property
    def mean(self) -> float | None:
        """Bits a token; None before the second."""
        return self.bits / self.scored if self.scored else None

    def add(self, token: int, logits: Array) -> float | None:
        """Score a token, and keep what is predicted after it; returns its bits."""
        bits = None
        if self.last is not None:
            before = self.last.astype(np.float64)
            bits = float(_log_sum(before) - before[token]) / math.log(2)
            self.bits, self.scored = self.bits + bits, self.scored + 1
        self.last = logits
        return bits


@dataclass
class Answers:
    """Makes lines, as JSON.

    Attributes:
        model: whose outputs they tell of.
        top: how many of the likeliest next tokens are told.
        score: of the tokens so far.
    """

    model: "Model"
    top: int
    score: Score

    def line(self, place: int, x: Any, y: Array) -> str:
        """A line for item number `place`, given the model's outputs (O,) after it."""
        vectors = self.model.channels is not None
        told = self._head(y) if vectors else self._token(int(x), y)
        return json.dumps({"at": place, **told}) + "\n"

    def _token(self, token: int, logits: Array) -> dict[str, Any]:
        bits, name = self.score.add(token, logits), self._name
        told: dict[str, Any] = {"byte" if self._bytes else "token": name(token)}
        told |= {"bits": _short(bits), "mean": _short(self.score.mean)}
        if self.top:
            logits = logits.astype(np.float64)
            best = np.argsort(-logits, kind="stable")[: self.top]
            shares = np.exp(logits[best] - _log_sum(logits))
            pairs = zip(best.tolist(), shares.tolist(), strict=True)
            told["next"] = [[name(token), _short(share)] for token, share in pairs]
        return told

    def _head(self, y: Array) -> dict[str, Any]:
        """Of a model of series: forecasts by target, probabilities by class, or a value."""
        data, values = self.model.spec.data, y.astype(np.float64)
        head = getattr(data, "head", None)
        if head == "classify":
            shares = np.exp(values - _log_sum(values)).tolist()
            classes = getattr(data, "classes", ())
            likely = {name: _short(p) for name, p in zip(classes, shares, strict=True)}
            return {"class": classes[int(values.argmax())], "probabilities": likely}
        if head == "forecast":
            targets = getattr(data, "target", ())
            ahead = values.reshape(-1, len(targets)).T.tolist()
            columns = zip(targets, ahead, strict=True)
            return {"forecast": {name: [_short(v) for v in line] for name, line in columns}}
        if head == "regress":
            return {"value": _short(float(values[0]))}
        return {"y": [_short(v) for v in values.tolist()]}

    @property
    def _bytes(self) -> bool:
        return self.model.spec.data.task == "text"

    def _name(self, token: int) -> Any:
        """A byte as a character, `\\xe4` if it is not ASCII; a token as a number."""
        return bytes([token]).decode("ascii", "backslashreplace") if self._bytes else token


def _log_sum(x: Array) -> Any:
    """log of the sum of exp(x)."""
    largest = x.max()
    return largest + np.log(np.exp(x - largest).sum())


def _short(x: float | None) -> float | None:
    return None if x is None else float(f"{x:.{DIGITS}g}")
