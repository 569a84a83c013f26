"""From a string or a dict with `kind` to a recurrence, a segmentation or a readout."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from mcore.errors import SpecError
from mcore.readout import READOUTS, Readout
from mcore.recurrence import RULES, Recurrence
from mcore.segmentation import SEGMENTATIONS, Given, Segmentation

Choice = str | Mapping[str, Any]
"""`"grm"`, or `{"kind": "ssc", "top_k": 4}`."""

Axis = TypeVar("Axis")


def make_recurrence(choice: Choice | Recurrence) -> Recurrence:
    """A recurrence from its kind and options; raises SpecError naming what would do."""
    return _make("recurrence", choice, RULES)


def make_readout(choice: Choice | Readout) -> Readout:
    """A readout from its kind and options."""
    return _make("readout", choice, READOUTS)


def make_segmentation(choice: Choice | Segmentation) -> Segmentation:
    """A segmentation from its kind and options."""
    if isinstance(choice, Mapping) and choice.get("kind") == Given.kind:
        lengths = {**choice}.get("lengths")
        if lengths is None or set(choice) != {"kind", "lengths"}:
            raise SpecError("segmentation: kind given takes lengths and nothing else")
        return Given.of(lengths)
    if choice == Given.kind:
        raise SpecError("segmentation: kind given needs lengths, e.g. [32, 4, 1]")
    return _make("segmentation", choice, SEGMENTATIONS)


def _make(axis: str, choice: Choice | Axis, known: Mapping[str, type[Axis]]) -> Axis:
    if not isinstance(choice, str | Mapping):
        return choice
    options = {"kind": choice} if isinstance(choice, str) else dict(choice)
    kind = options.pop("kind", None)
    if kind not in known:
        raise SpecError(f"{axis}: {kind!r} is unknown; {_suggest(kind, known)}")
    allowed = _options(known[kind])
    unknown = [name for name in options if name not in allowed]
    if unknown:
        would_do = ", ".join(allowed) or "no options"
        raise SpecError(f"{axis}.{unknown[0]}: not an option of {kind}; it takes {would_do}")
    return known[kind](**options)


def _options(cls: type[Any]) -> list[str]:
    return [field.name for field in fields(cls)] if is_dataclass(cls) else []


def _suggest(kind: object, known: Mapping[str, object]) -> str:
    close = get_close_matches(str(kind), known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}({', '.join(known)})"
