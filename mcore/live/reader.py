"""From bytes to what a model is fed: bytes themselves, whole numbers, or a vector a line."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from mcore.arrays import Array
from mcore.errors import DataError

if TYPE_CHECKING:
    from mcore.model import Model


_LONGEST = 18
"""Digits of a whole number, at most."""


class Item(NamedTuple):
    """One token or vector, and the offset of the input after it."""

    x: Any
    end: int


class Reader(Protocol):
    """Makes items of bytes that come in pieces of any size."""

    columns: list[int] | None
    """Which fields of a line the model sees, where a header said it."""

    def items(self, data: bytes, last: bool) -> Iterator[Item]:
        """What is complete with these bytes; all that is left if they are the `last`.

        Raises:
            DataError: what is there cannot be used; says at which byte. Items before it were given.
        """


class Bytes:
    """Each byte is a token."""

    columns: list[int] | None = None

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def items(self, data: bytes, last: bool) -> Iterator[Item]:
        """See `Reader`."""
        for token in data:
            self._offset += 1
            yield Item(token, self._offset)


class Lines:
    """Lines, an item each; empty ones are passed over."""

    def __init__(self, offset: int, columns: list[int] | None = None) -> None:
        self._offset, self._rest, self.columns = offset, b"", columns

    def items(self, data: bytes, last: bool) -> Iterator[Item]:
        """See `Reader`."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        whole = [line + b"\n" for line in lines]
        if last and self._rest:
            whole.append(self._rest)
            self._rest = b""
        for line in whole:
            begin, self._offset = self._offset, self._offset + len(line)
            text = self._text(line, begin)
            x = self.value(text, begin) if text else None
            if x is not None:
                yield Item(x, self._offset)

    def value(self, text: str, begin: int) -> Any:
        """What a line that starts at byte `begin` holds; None for nothing."""
        raise NotImplementedError

    def _text(self, line: bytes, begin: int) -> str:
        try:
            return line.decode("utf-8-sig" if begin == 0 else "utf-8").strip()
        except UnicodeDecodeError:
            raise DataError(f"byte {begin}: a line that is not UTF-8 text") from None


class Numbers(Lines):
    """Whole numbers, a token each: one on a line.

    Attributes:
        vocab: they are below it.
    """

    def __init__(self, offset: int, vocab: int) -> None:
        super().__init__(offset)
        self.vocab = vocab

    def value(self, text: str, begin: int) -> int:
        """See `Lines`."""
        if not text.isdecimal() or len(text) > _LONGEST or int(text) >= self.vocab:
            would_do = f"a token from 0 to {self.vocab - 1} on a line would do"
            raise DataError(f"byte {begin}: {text[:40]!r}; {would_do}")
        return int(text)


class Vectors(Lines):
    """A vector a line: CSV, a JSON list, or a JSON object with the channels' names.

    A first line of names says which column is which, if the channels have names.

    Attributes:
        names: of the channels, as far as they have any.
        channels: C.
    """

    def __init__(
        self, offset: int, channels: int, names: Sequence[str], columns: list[int] | None
    ) -> None:
        super().__init__(offset, columns)
        self.channels, self.names = channels, list(names)

    def value(self, text: str, begin: int) -> Array | None:
        """See `Lines`."""
        if text[0] in "[{":
            return self._vector(self._json(text, begin), begin)
        fields = [field.strip().strip('"') for field in _split(text)]
        if begin == 0 and not all(_is_number(field) for field in fields):
            self.columns = self._header(fields)
            return None
        return self._vector(self._chosen(fields, begin), begin)

    def _json(self, text: str, begin: int) -> list[Any]:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"byte {begin}: a line that is not JSON: {error}") from None
        if not isinstance(found, dict):
            return list(found)
        missing = [name for name in self.names if name not in found]
        if missing or not self.names:
            wanted = ", ".join(self.names) or f"a list of {self.channels} numbers"
            raise DataError(f"byte {begin}: an object with {', '.join(found)}; {wanted} would do")
        return [found[name] for name in self.names]

    def _header(self, fields: list[str]) -> list[int] | None:
        missing = [name for name in self.names if name not in fields]
        if missing:
            raise DataError(
                f"byte 0: names {', '.join(fields)}; {', '.join(missing)} missing, which the model "
                "was trained on"
            )
        return [fields.index(name) for name in self.names] or None

    def _chosen(self, fields: list[str], begin: int) -> list[str]:
        if self.columns is None:
            return fields
        if len(fields) <= max(self.columns):
            raise DataError(f"byte {begin}: {len(fields)} fields, fewer than the first line names")
        return [fields[i] for i in self.columns]

    def _vector(self, fields: Sequence[Any], begin: int) -> Array:
        if len(fields) != self.channels or not all(_is_number(field) for field in fields):
            shown = ", ".join(map(str, fields))[:60]
            would_do = f"{self.channels} finite numbers would do, empty where one is missing"
            raise DataError(f"byte {begin}: {shown}; {would_do}")
        return np.array([_number(field) for field in fields])


def reader_of(model: "Model", offset: int, columns: list[int] | None) -> Reader:
    """What reads the input of a model from an offset on."""
    data, channels = model.spec.data, model.channels
    if channels is not None:
        return Vectors(offset, channels, getattr(data, "columns", ()), columns)
    return Bytes(offset) if data.task == "text" else Numbers(offset, model.vocab)


def _split(text: str) -> list[str]:
    comma = next((sign for sign in ",;\t" if sign in text), None)
    return text.split(comma)


def _is_number(field: Any) -> bool:
    try:
        return not math.isinf(_number(field))
    except (TypeError, ValueError):
        return False


def _number(field: Any) -> float:
    """NaN for what is missing."""
    return math.nan if field in (None, "") else float(field)
