"""The state file of a live stream: a `Session` file with a note on input and output."""

import hashlib
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcore.errors import InputError, SnapshotError
from mcore.live.answers import Score
from mcore.placing import to_host
from mcore.training.numbers import count, number

if TYPE_CHECKING:
    from mcore.session import Session


@dataclass
class Place:
    """How far a live stream has come.

    Attributes:
        tokens: items that were fed.
        names: paths of the input and the output; empty for the standard ones.
        tokens: items that were fed.
        consumed: bytes of the input that they were.
        written: bytes of the output file; None if that is not known.
        columns: see `mcore.live.reader.Reader`.
        score: of the tokens so far.
    """

    names: tuple[str, str]
    tokens: int = 0
    consumed: int = 0
    written: int | None = None
    columns: list[int] | None = None
    score: Score = field(default_factory=Score)


@dataclass(frozen=True)
class Every:
    """How often a state is written: every so many tokens, or seconds."""

    tokens: int | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, text: str) -> "Every":
        """From `500` (tokens) or `2.5s` (seconds).

        Raises:
            InputError: neither, or not above 0.
        """
        try:
            every = cls(seconds=float(text[:-1])) if text.endswith("s") else cls(tokens=int(text))
        except ValueError:
            every = cls()
        if not ((every.tokens or 0) > 0 or 0 < (every.seconds or 0) < float("inf")):
            raise InputError(
                f"--save-every: {text!r}; tokens, as 500, or seconds, as 2.5s, would do"
            )
        return every


OFTEN = Every(seconds=10.0)


class Keeper:
    """Writes the state now and then, and finds it again.

    Attributes:
        path: of the file; None to keep nothing.
    """

    def __init__(self, session: "Session", path: Path | None, every: Every) -> None:
        self.path, self._session, self._every = path, session, every
        self._tokens, self._time = 0, time.monotonic()

    def restore(self, names: tuple[str, str]) -> Place:
        """Where the stream stands: at its start, if there is no file.

        Another input than that of the file is read from its start, another output is added to.

        Raises:
            SnapshotError: the file cannot be read, or is of a stream through another model, also
                one with other weights.
        """
        if self.path is None or not self.path.exists():
            return Place(names)
        note = self._session.restore(self.path)
        if note.get("weights", self._weights) != self._weights:
            raise SnapshotError(
                f"{self.path}: is of a stream through the same model with other weights, and would "
                "not go on as it was; a new --state begins anew"
            )
        try:
            place = _place(note, names) if "tokens" in note else Place(names)
        except (KeyError, TypeError, ValueError):
            message = f"{self.path}: is damaged: its note is none that mcore stream writes"
            raise SnapshotError(f"{message}; a new --state begins anew") from None
        self._tokens = place.tokens
        return place

    def due(self, tokens: int) -> bool:
        """Whether it is time to write."""
        if self.path is None or tokens == self._tokens:
            return False
        if self._every.tokens is not None:
            return tokens - self._tokens >= self._every.tokens
        return time.monotonic() - self._time >= (self._every.seconds or 0)

    def save(self, place: Place) -> None:
        """Write the state, if one is kept."""
        if self.path is not None:
            self._session.save(self.path, {**_note(place), "weights": self._weights})
            self._tokens, self._time = place.tokens, time.monotonic()

    @cached_property
    def _weights(self) -> str:
        """A digest of the parameters."""
        model = self._session.model
        arrays, digest = getattr(model, "arrays", model.params), hashlib.sha256()
        for name, x in sorted(arrays.items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(to_host(x)).data)
        return digest.hexdigest()[:16]


def _note(place: Place) -> dict[str, Any]:
    """JSON keeps all bits of numbers."""
    score, (source, sink) = place.score, place.names
    return {
        "input": source,
        "output": sink,
        "tokens": place.tokens,
        "consumed": place.consumed,
        "written": place.written,
        "columns": place.columns,
        "bits": score.bits,
        "scored": score.scored,
        "last": None if score.last is None else score.last.tolist(),
    }


def _place(note: dict[str, Any], names: tuple[str, str]) -> Place:
    last = None if note["last"] is None else np.array([number(x) for x in note["last"]])
    score = Score(number(note["bits"]), count(note["scored"]), last)
    place = Place(names, count(note["tokens"]), score=score)
    if note["input"] == names[0]:
        place.consumed = count(note["consumed"])
        columns = note["columns"]
        place.columns = None if columns is None else [count(column) for column in columns]
    if note["output"] == names[1]:
        place.written = None if note["written"] is None else count(note["written"])
    return place
