"""Plain data -> Spec, or everything that is wrong with it at once."""

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from mcore.spec.findings import findings_of
from mcore.spec.schema import Finding, KeyPath, Spec

_ROUNDS = 12


@dataclass
class Checked:
    """What came of checking: the spec, and what is wrong.

    Attributes:
        spec: the spec as far as it is right, with defaults for what is wrong; None if hopeless.
        findings: everything that is wrong.
        dropped: the paths that were replaced by defaults.
    """

    spec: Spec | None = None
    findings: list[Finding] = field(default_factory=list)
    dropped: list[KeyPath] = field(default_factory=list)

    def touches(self, finding: Finding) -> bool:
        """Whether a finding is about something already reported, or a consequence of it."""
        paths = (finding.path, *finding.needs)
        return any(_related(path, gone) for path in paths for gone in self.dropped)


def validate(data: dict[str, Any], environment: bool) -> Checked:
    """Check data against the schema.

    A validator that compares keys runs only where each of them is right. So what is wrong is
    dropped and the rest checked again, until nothing new is found.

    Args:
        data: plain data.
        environment: whether files and backends that the spec names must be here.
    """
    checked = Checked()
    for _ in range(_ROUNDS):
        try:
            checked.spec = Spec.model_validate(data, context={"environment": environment})
            break
        except ValidationError as error:
            found = findings_of(error.errors(include_url=False), data)
        checked.findings += [finding for finding in found if not checked.touches(finding)]
        for path in [path for finding in found for path in _culprits(data, finding)]:
            checked.dropped.append(path)
            data = _removed(data, path)
    return checked


def _related(a: KeyPath, b: KeyPath) -> bool:
    return a[: len(b)] == b or b[: len(a)] == a


def _culprits(data: dict[str, Any], finding: Finding) -> list[KeyPath]:
    """The keys to drop so that the finding goes: those it names, or else the one they stand in."""
    named = [path for path in (finding.path, *finding.needs) if _present(data, path)[1]]
    found = [_present(data, path)[0] for path in named or [finding.path]]
    return [path for path in dict.fromkeys(found) if path]


def _present(data: Any, path: KeyPath) -> tuple[KeyPath, bool]:
    """How far `path` leads, up to the last key of a mapping, and whether that is all the way."""
    end = 0
    for n, key in enumerate(path, 1):
        if isinstance(data, dict) and key in data:
            data, end = data[key], n
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            data = data[key]
        else:
            return path[:end], False
    return path[:end], True


def _removed(data: Any, path: KeyPath) -> Any:
    key, rest = path[0], path[1:]
    if isinstance(data, dict) and key not in data:
        return data
    if isinstance(data, list):
        return [_removed(item, rest) if n == key else item for n, item in enumerate(data)]
    if not rest:
        return {name: item for name, item in data.items() if name != key}
    return {**data, key: _removed(data[key], rest)}
