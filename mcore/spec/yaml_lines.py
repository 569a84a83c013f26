"""YAML text -> plain data with line numbers, for people's mistakes and for hostile files.

Reads PyYAML's events one by one: nothing is built that a spec has no use for (anchors, aliases,
tags), and reading stops at the first thing too deep, so that no file can blow up.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.reader import ReaderError

from mcore.spec.document import Document
from mcore.spec.scalars import meaning
from mcore.spec.schema.base import Finding, KeyPath

LARGEST = 64 * 1024
"""Characters in a spec. PyYAML reads about 200 000 a second, and a spec is some 40 lines."""

_DEEPEST = 16
_MOST_VALUES = 5000


class YamlRefusal(Exception):
    """The text cannot be read as a spec. Carries the line (0 if unknown) and a message."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def read_yaml(text: str, name: str) -> Document:
    """Data, lines and duplicate keys of one YAML document.

    Raises: YamlRefusal when it is not YAML, or YAML that has no place in a spec.
    """
    if len(text) > LARGEST:
        raise YamlRefusal(0, f"is larger than {LARGEST // 1024} kB; a spec is some 40 lines")
    reader = _Reader(yaml.parse(text, Loader=yaml.SafeLoader))
    try:
        data = reader.document()
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, text) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlRefusal(line, "holds a character that YAML does not allow; remove it") from None
    except (ValueError, OverflowError):
        raise YamlRefusal(0, "not YAML: an escape or directive is out of range") from None
    return Document(data, name, reader.lines, tuple(reader.problems))


@dataclass
class _Reader:
    events: Iterator[yaml.Event]
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[tuple[int, Finding]] = field(default_factory=list)

    def document(self) -> Any:
        next(self.events)
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return None
        data = self.node(next(self.events), ())
        next(self.events)
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _refusal(after, "a second document begins; a file holds one spec")
        return data

    def node(self, event: yaml.Event, path: KeyPath) -> Any:
        self.lines.setdefault(path, _line(event))
        _check_plain(event)
        if len(path) > _DEEPEST:
            raise _refusal(event, f"nested more than {_DEEPEST} deep; a spec needs far less")
        if len(self.lines) > _MOST_VALUES:
            raise _refusal(event, f"holds more than {_MOST_VALUES} values; a spec needs far less")
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(path)
        return self.mapping(path)

    def sequence(self, path: KeyPath) -> list[Any]:
        data: list[Any] = []
        while (event := self.next_unless(yaml.SequenceEndEvent)) is not None:
            data.append(self.node(event, (*path, len(data))))
        return data

    def mapping(self, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while (event := self.next_unless(yaml.MappingEndEvent)) is not None:
            _check_plain(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise _refusal(event, "a key is a list or a mapping; keys are plain words")
            key, line = _text(event), _line(event)
            if key in data:
                self.repeated((*path, key), line)
                self.node(next(self.events), (*path, key))
                continue
            self.lines.setdefault((*path, key), line)
            data[key] = self.node(next(self.events), (*path, key))
        return data

    def repeated(self, path: KeyPath, line: int) -> None:
        message = f"given twice, first on line {self.lines[path]}; keep one of them"
        self.problems.append((line, Finding(path, message)))

    def scalar(self, event: yaml.ScalarEvent) -> Any:
        return meaning(event.value) if event.implicit[0] else _text(event)

    def next_unless(self, end: type[yaml.Event]) -> yaml.Event | None:
        event = next(self.events)
        return None if isinstance(event, end) else event


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _check_plain(event: yaml.Event) -> None:
    anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
    if isinstance(event, yaml.AliasEvent):
        what = f"aliases (*{anchor})"
    elif anchor:
        what = f"anchors (&{anchor})"
    elif tag:
        what = f"tags ({tag})"
    else:
        return
    raise _refusal(event, f"{what} are not used in specs; write it out, or quote it")


def _text(event: yaml.ScalarEvent) -> str:
    value = str(event.value)
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise _refusal(event, "holds half a character (a lone surrogate); remove the escape")
    return value


def _refusal(event: yaml.Event, message: str) -> YamlRefusal:
    return YamlRefusal(_line(event), message)


def _syntax(error: yaml.MarkedYAMLError, text: str) -> YamlRefusal:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    found = text.split("\n")[line - 1] if 0 < line <= text.count("\n") + 1 else ""
    if found[: len(found) - len(found.lstrip())].count("\t"):
        return YamlRefusal(line, "the line is indented with a tab; indent with spaces")
    begun = error.context_mark
    context = f", {error.context}" if error.context else ""
    since = f" begun on line {begun.line + 1}" if begun and context else ""
    hint = "check brackets, colons, quotes and indents"
    return YamlRefusal(line, f"not YAML: {error.problem}{context}{since}; {hint}")
