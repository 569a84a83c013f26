"""Pydantic's errors, one by one, in a user's words: what is wrong and what would do."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic_core import ErrorDetails

from mcore.spec.document import dotted
from mcore.spec.lookup import (
    discriminator,
    homes_of,
    name_of,
    names_at,
    section_of,
    sections_at,
)
from mcore.spec.scalars import meaning
from mcore.spec.schema import KeyPath
from mcore.spec.suggest import brief, hint, kind_of, one

_FEW = 2
"""A key that is at home in more sections than this is not placed by its name."""


class Place(NamedTuple):
    """An error, the path it is about, and the data around the last key of the path."""

    error: ErrorDetails
    path: KeyPath
    around: Any


def words(place: Place) -> str:
    """The message for an error; pydantic's own for what has no better one."""
    return _WRITERS.get(place.error["type"], _own)(place)


def _unknown_key(place: Place) -> str:
    key, inside = str(place.path[-1]), place.path[:-1]
    section = section_of(inside, place.around)
    if section is None:
        return "unknown key; drop it"
    owners = [name_of(other) for other in sections_at(inside) if key in other.model_fields]
    if owners:
        chooser = section.discriminator
        choice = " ".join(dict.fromkeys((section.noun, chooser)))
        return (
            f"{key} belongs to {choice} {' or '.join(owners)}, and this is {name_of(section)}; "
            f"drop it, or set {chooser}: {owners[0]}"
        )
    homes = [home for home in homes_of(key) if home and home != dotted(inside)]
    if 0 < len(homes) <= _FEW:
        return f"unknown key; {key} belongs in {' or '.join(homes)}"
    return f"unknown key{hint(key, [*section.model_fields])}"


def _missing(place: Place) -> str:
    key = str(place.path[-1])
    section = section_of(place.path[:-1], place.around)
    meant = (section.model_fields[key].description if section else None) or "it has no default"
    return f"{key} is missing; add it ({meant[0].lower()}{meant[1:].rstrip('.')})"


def _type(place: Place) -> str:
    value, wanted = place.error["input"], _WANTED[place.error["type"]]
    if value is None:
        return f"is empty (null); it needs {wanted}"
    if not isinstance(value, str):
        return f"needs {wanted}, not {kind_of(value)}"
    return f"needs {wanted}, not the text {brief(value)}{_unquoted(place.error['type'], value)}"


def _unquoted(kind: str, value: str) -> str:
    if kind in ("int_type", "float_type") and isinstance(meaning(value), int | float):
        return "; drop the quotes"
    if kind == "bool_type" and value.lower() in ("yes", "on", "y", "true"):
        return "; write true"
    if kind == "bool_type" and value.lower() in ("no", "off", "n", "false"):
        return "; write false"
    return ""


def _range(place: Place) -> str:
    words, key = _RANGES[place.error["type"]]
    limit = place.error["ctx"][key]
    shown = f"{limit:g}" if isinstance(limit, float) else str(limit)
    return f"{brief(place.error['input'])} is out of range; {words} {shown} would do"


def _finite(place: Place) -> str:
    return f"{brief(place.error['input'])} is out of range; any finite number would do"


def _literal(place: Place) -> str:
    value, allowed = place.error["input"], re.findall(r"'([^']*)'", place.error["ctx"]["expected"])
    section = section_of(place.path[:-1], place.around)
    names = section is not None and section.discriminator == place.path[-1]
    wrong = f"is not {one(section.noun)}" if section and names else "is not known here"
    if isinstance(value, str):
        return f"{brief(value)} {wrong}{hint(value, allowed)}"
    return f"{kind_of(value)} {wrong}; one of {', '.join(allowed)} would do"


def _shorthand(place: Place) -> str:
    value, names = place.error["input"], ", ".join(names_at(place.path))
    shown = "is empty (null)" if value is None else f"{kind_of(value)} names nothing"
    return f"{shown}; a name ({names}), or a mapping with {discriminator(place.path)} would do"


def _length(place: Place) -> str:
    limits = place.error["ctx"]
    limit = limits.get("max_length", limits.get("min_length"))
    return f"has {limits['actual_length']} entries; {limit} would do"


def _variant(place: Place) -> str:
    return "is no name for a variant; up to 40 letters, digits, _ + - would do"


def _own(place: Place) -> str:
    return place.error["msg"]


_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list, as in [a, b]",
    "tuple_type": "a list, as in [a, b]",
    "model_type": "a mapping, as in {key: value}",
    "model_attributes_type": "a mapping, as in {key: value}",
    "dict_type": "a mapping, as in {key: value}",
}

_RANGES = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}

_WRITERS: dict[str, Callable[[Place], str]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "literal_error": _literal,
    "shorthand": _shorthand,
    "finite_number": _finite,
    "too_long": _length,
    "too_short": _length,
    "string_pattern_mismatch": _variant,
    "string_too_long": _variant,
    **dict.fromkeys(_WANTED, _type),
    **dict.fromkeys(_RANGES, _range),
}
