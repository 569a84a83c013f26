"""From a string or a dict with `kind` to a recurrence, a segmentation or a readout."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mcore.cache import CachePolicy
from mcore.errors import SpecError
from mcore.readout import READOUTS, Readout
from mcore.recurrence import RULES, Recurrence
from mcore.segmentation import SEGMENTATIONS, Given, Segmentation

Choice = str | Mapping[str, Any]
"""`"grm"`, or `{"kind": "ssc", "top_k": 4}`."""

Axis = TypeVar("Axis")


def make_recurrence(choice: Choice | Recurrence) -> Recurrence:
    """A recurrence from its kind and options; raises SpecError naming what would do."""
    return choice if isinstance(choice, Recurrence) else _make("recurrence", choice, RULES)


def make_readout(choice: Choice | Readout) -> Readout:
    """A readout from its kind and options."""
    return choice if isinstance(choice, Readout) else _make("readout", choice, READOUTS)


def make_cache(choice: Mapping[str, Any] | CachePolicy | None) -> CachePolicy:
    """What bounds a cache, from its options; None bounds nothing."""
    if choice is None or isinstance(choice, CachePolicy):
        return choice or CachePolicy()
    if not isinstance(choice, Mapping):
        raise SpecError(f"cache: {choice!r} will not do; a dict such as {{'limit': 16}} would")
    return _checked("cache", "a cache", choice, CachePolicy)


def make_segmentation(choice: Choice | Segmentation) -> Segmentation:
    """A segmentation from its kind and options."""
    if isinstance(choice, Segmentation):
        return choice
    if isinstance(choice, Mapping) and choice.get("kind") == Given.kind:
        if set(choice) != {"kind", "lengths"}:
            raise SpecError("segmentation: kind given takes lengths and nothing else")
        return Given.of(choice["lengths"])
    if choice == Given.kind:
        raise SpecError("segmentation: kind given needs lengths, e.g. [32, 4, 1]")
    return _make("segmentation", choice, SEGMENTATIONS)


def _make(axis: str, choice: Choice, known: Mapping[str, type[Axis]]) -> Axis:
    if not isinstance(choice, str | Mapping):
        kinds = ", ".join(known)
        raise SpecError(
            f"{axis}: {choice!r} is neither a kind nor a dict with one; {kinds} would do"
        )
    options = {"kind": choice} if isinstance(choice, str) else dict(choice)
    if "kind" not in options:
        raise SpecError(f"{axis}: the dict has no kind; {', '.join(known)} would do")
    kind = options.pop("kind")
    if not isinstance(kind, str) or kind not in known:
        raise SpecError(f"{axis}: kind {kind!r} is unknown; {_suggest(kind, known)}")
    return _checked(axis, kind, options, known[kind])


def _checked(axis: str, kind: str, options: Mapping[str, Any], cls: type[Axis]) -> Axis:
    """An instance of `cls` with these options, if they are of its names and types."""
    allowed = _options(cls)
    unknown = [name for name in options if name not in allowed]
    if unknown:
        would_do = ", ".join(allowed) or "no options"
        raise SpecError(f"{axis}.{unknown[0]}: not an option of {kind}; it takes {would_do}")
    for name, value in options.items():
        _check_type(f"{axis}.{name}", value, allowed[name])
    return cls(**options)


def _options(cls: type[Any]) -> dict[str, Any]:
    """Option name -> its type."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)} if is_dataclass(cls) else {}


def _check_type(path: str, value: object, wanted: Any) -> None:
    if get_origin(wanted) in (Union, UnionType):
        if value is None:
            return
        wanted = next(kind for kind in get_args(wanted) if kind is not type(None))
    if get_origin(wanted) is Literal:
        good, words = value in get_args(wanted), " or ".join(map(str, get_args(wanted)))
    elif wanted is bool:
        good, words = isinstance(value, bool), "true or false"
    else:
        kinds = (int, float) if wanted is float else (int,)
        good = isinstance(value, kinds) and not isinstance(value, bool)
        words = "a number" if wanted is float else "a whole number"
    if not good:
        raise SpecError(f"{path}: {value!r} will not do; {words} would")


def _suggest(kind: object, known: Mapping[str, object]) -> str:
    close = get_close_matches(str(kind), known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}({', '.join(known)})"
