"""Pydantic's errors -> findings with the paths that a user sees."""

from collections.abc import Sequence
from typing import Any

from pydantic_core import ErrorDetails

from mcore.spec.lookup import discriminator, names_at, sections_at
from mcore.spec.schema import Finding, KeyPath
from mcore.spec.suggest import brief, hint, kind_of, one
from mcore.spec.wording import Place, words


def findings_of(errors: Sequence[ErrorDetails], data: Any) -> list[Finding]:
    """One finding for each error, or several where a validator found several."""
    return [finding for error in errors for finding in _findings(error, data)]


def _findings(error: ErrorDetails, data: Any) -> list[Finding]:
    path, around = _path(error["loc"], data)
    if error["type"] == "findings":
        return [finding.below(path) for finding in error["ctx"]["findings"]]
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return [_unknown_name(path, around)]
    if error["type"] == "missing" and isinstance(path[-1], int):
        return [Finding(path[:-1], f"is too short; {path[-1] + 1} entries would do")]
    shown = path[:-1] if isinstance(around, str) else path
    return [Finding(shown, words(Place(error, path, around)))]


def _path(location: tuple[int | str, ...], data: Any) -> tuple[KeyPath, Any]:
    """Pydantic's location without the names of union members, and the data around its last key."""
    path: KeyPath = ()
    around, chosen = data, False
    for key in location:
        if key == "[key]":
            break
        if chosen:
            chosen = False
            continue
        around, data = data, _child(data, key)
        path = (*path, key)
        chosen = len(sections_at(path)) > 1
    return path, around


def _child(data: Any, key: int | str) -> Any:
    if isinstance(data, dict):
        return data.get(key)
    if isinstance(data, list) and isinstance(key, int) and key < len(data):
        return data[key]
    return data if isinstance(data, str) else None


def _unknown_name(path: KeyPath, around: Any) -> Finding:
    value = _child(around, path[-1])
    key, noun, names = discriminator(path), sections_at(path)[0].noun, names_at(path)
    if isinstance(value, dict):
        path = (*path, key)
        if key not in value:
            return Finding(path, f"is missing; one of {', '.join(names)} would do")
        value = value[key]
    if not isinstance(value, str):
        listed = ", ".join(names)
        return Finding(path, f"{kind_of(value)} is not {one(noun)}; one of {listed} would do")
    return Finding(path, f"{brief(value)} is not {one(noun)}{hint(value, names)}")
