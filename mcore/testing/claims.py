"""What a kernel claims to compute, as one line: `recurrence=linear,readout=ssc,top_k=2`."""

from dataclasses import fields, is_dataclass
from typing import Any

import yaml

from mcore.axes import make_readout, make_recurrence
from mcore.errors import SpecError
from mcore.recurrence import RULES
from mcore.testing.choices import Axis
from mcore.testing.theorems.case import Axes

KEYS = ("recurrence", "readout", "start")


def parse_claim(text: str) -> Axes:
    """The composition that a line names: kinds, the start, and options by their names.

    Raises:
        SpecError: a part without `=`, an unknown kind or option; no recurrence or readout.

    Example:
        >>> parse_claim("recurrence=linear,readout=ssc,top_k=2")
        Axes(recurrence='linear', readout={'kind': 'ssc', 'top_k': 2}, start='independent')
    """
    parts = dict(_part(part) for part in text.split(",") if part.strip())
    for key in KEYS[:2]:
        if key not in parts:
            raise SpecError(f"--as: no {key}; e.g. --as recurrence=linear,readout=grm")
    recurrence, readout = str(parts.pop("recurrence")), str(parts.pop("readout"))
    start = str(parts.pop("start", "independent"))
    make_recurrence(recurrence)
    ours = _options(RULES[recurrence])
    axes = Axes(
        _axis(recurrence, {name: value for name, value in parts.items() if name in ours}),
        _axis(readout, {name: value for name, value in parts.items() if name not in ours}),
        start,
    )
    make_recurrence(axes.recurrence)
    make_readout(axes.readout)
    return axes


def _part(part: str) -> tuple[str, Any]:
    name, equals, value = part.partition("=")
    if not equals:
        raise SpecError(f"--as: {part.strip()!r} has no value; e.g. {part.strip()}=...")
    return name.strip(), yaml.safe_load(value)


def _axis(kind: str, options: dict[str, Any]) -> Axis:
    return {"kind": kind, **options} if options else kind


def _options(cls: type[Any]) -> list[str]:
    return [field.name for field in fields(cls)] if is_dataclass(cls) else []
