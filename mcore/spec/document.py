"""A spec before it is checked: plain data, and the line on which each key stands."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from mcore.errors import Problem, SpecError
from mcore.spec.schema.base import Finding, KeyPath

SET = 10**9
"""The line of a key that came from `--set`; it sorts behind all real lines."""

_MOST_PROBLEMS = 100


@dataclass(frozen=True)
class Document:
    """Plain data (dicts, lists, scalars) and where it came from.

    Attributes:
        name: the file as the user named it; empty if the spec was a mapping.
        lines: line of each path, from 1; SET for what `--set` wrote.
        problems: what was wrong with the file but did not keep it from being read, with its line.
    """

    data: Any
    name: str = ""
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: tuple[tuple[int, Finding], ...] = ()

    def changed(self, data: Any, path: KeyPath) -> "Document":
        """With new data that `--set` wrote at `path`."""
        kept = {at: line for at, line in self.lines.items() if at[: len(path)] != path}
        fresh = (path[: n + 1] for n in range(len(path)))
        return replace(self, data=data, lines={**dict.fromkeys(fresh, SET), **kept, path: SET})

    def with_problem(self, line: int, finding: Finding) -> "Document":
        """With one more problem."""
        return replace(self, problems=(*self.problems, (line, finding)))

    def line(self, finding: Finding) -> int:
        """Where to look: at the key itself, else at a key it contradicts, else further up."""
        places = [place for place in (finding.path, *finding.needs) if place in self.lines]
        if places:
            return self.lines[places[0]]
        above = (finding.path[:n] for n in range(len(finding.path), -1, -1))
        return next((self.lines[place] for place in above if place in self.lines), 0)

    def error(self, findings: Iterable[Finding]) -> SpecError:
        """All findings and the document's own problems as one error, in the order of the file."""
        placed = [*self.problems, *((self.line(finding), finding) for finding in findings)]
        placed.sort(key=lambda pair: pair[0])
        problems = [self._problem(line, finding) for line, finding in placed[:_MOST_PROBLEMS]]
        if len(placed) > len(problems):
            more = f"{len(placed) - len(problems)} more problems are not shown"
            problems.append(Problem(self.name, "", more))
        return SpecError(problems)

    def _problem(self, line: int, finding: Finding) -> Problem:
        where = (
            "--set" if line == SET else f"{self.name}:{line}" if self.name and line else self.name
        )
        return Problem(where, dotted(finding.path), finding.message)


def dotted(path: KeyPath) -> str:
    """`model.blocks.0.window`; a key that is no plain word is quoted."""
    return ".".join(_shown(key) for key in path)


def _shown(key: str | int) -> str:
    text = str(key)
    if len(text) > 60:
        text = f"{text[:57]}..."
    return text if text and text.isprintable() else repr(text)
