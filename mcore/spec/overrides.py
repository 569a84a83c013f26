"""`--set path=value`: change one key of a spec before it is checked.

Setting a discriminator (`memory.readout.kind=none`) to another choice keeps the keys that the new
choice knows too, and drops the others; setting the axis itself (`memory.readout=none`) starts
afresh. Setting a key inside an axis that the spec leaves out, or names by a bare string, fills in
the name: `memory.readout.top_k=4` works on `readout: ssc`.
"""

from collections.abc import Sequence
from typing import Any

from mcore.spec.document import SET, Document
from mcore.spec.lookup import default_name, discriminator, section_of, sections_at
from mcore.spec.schema import Finding, KeyPath
from mcore.spec.suggest import brief
from mcore.spec.yaml_lines import YamlRefusal, read_yaml

_DEEPEST = 16


class NoSuchPlace(Exception):
    """A path leads into a value, or past the end of a list. Carries a finding."""

    def __init__(self, path: KeyPath, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(path, message)


def apply_overrides(document: Document, overrides: Sequence[str]) -> Document:
    """The document with each `path=value` set, in order; what cannot be set becomes a problem."""
    for override in overrides:
        document = _apply(document, override)
    return document


def _apply(document: Document, override: str) -> Document:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        message = f"{brief(override)} is no setting; path=value would do, e.g. train.steps=100"
        return document.with_problem(SET, Finding((), message))
    try:
        path = parse_path(dotted.strip(), document.data)
        value = read_yaml(text, "")
        data = assign(document.data, path, value.data)
    except YamlRefusal as refusal:
        return document.with_problem(SET, Finding((dotted.strip(),), refusal.message))
    except NoSuchPlace as error:
        return document.with_problem(SET, error.finding)
    changed = document.changed(data, path)
    for _, finding in value.problems:
        changed = changed.with_problem(SET, finding.below(path))
    return changed


def parse_path(dotted: str, data: Any) -> KeyPath:
    """`model.blocks.0.window` as keys; a number counts in a list and is a key in a mapping.

    Raises: NoSuchPlace when it is deeper than any spec.
    """
    path: KeyPath = ()
    for word in dotted.split(".", _DEEPEST):
        if len(path) == _DEEPEST:
            raise NoSuchPlace(path, f"leads more than {_DEEPEST} deep; a spec needs far less")
        key: str | int = int(word) if isinstance(data, list) and _is_index(word) else word
        path = (*path, key)
        inside = isinstance(data, dict) or (isinstance(key, int) and key < len(data))
        data = data.get(key) if isinstance(data, dict) else data[key] if inside else None
    return path


def assign(data: Any, path: KeyPath, value: Any, at: KeyPath = ()) -> Any:
    """A copy of `data` with `value` at `path`; `at` is where `data` stands in the spec.

    Raises: NoSuchPlace when the path leads into a value or past the end of a list.
    """
    if not path:
        return value
    key, rest = path[0], path[1:]
    place = _opened(data, at, key)
    if isinstance(place, list) and isinstance(key, int):
        changed = assign(place[key], rest, value, (*at, key))
        return [changed if n == key else item for n, item in enumerate(place)]
    changed = assign(place.get(key), rest, value, (*at, key))
    if not rest and key == discriminator(at) and place.get(key) != value:
        place = _known(place, {**place, key: value}, at)
    return {**place, key: changed}


def _opened(data: Any, at: KeyPath, key: str | int) -> Any:
    """The mapping or list at `at` in which `key` is to be set."""
    if isinstance(data, list):
        if isinstance(key, int) and key < len(data):
            return data
        raise NoSuchPlace(at, f"has {len(data)} entries, counted from 0; {brief(key)} is none")
    if isinstance(data, dict):
        return data
    if data is None and not _is_index(str(key)):
        name = default_name(at) if at else ""
        return {discriminator(at): name} if name else {}
    if isinstance(data, str) and discriminator(at):
        return {discriminator(at): data}
    shown = "is not listed in this spec" if data is None else f"is {brief(data)}, a value"
    raise NoSuchPlace(at, f"{shown}; set it as a whole")


def _known(place: dict[str, Any], chosen: dict[str, Any], at: KeyPath) -> dict[str, Any]:
    """What of a mapping the newly chosen section knows; all if the choice is unknown."""
    section = section_of(at, chosen)
    if section is None or len(sections_at(at)) < 2:
        return place
    return {key: item for key, item in place.items() if key in section.model_fields}


def _is_index(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 10
