"""The four axes of a memory, each as a dict with `kind`."""

from collections.abc import Mapping
from typing import Any

Composition = Mapping[str, Any]


def axis(composition: Composition, name: str) -> dict[str, Any]:
    """One axis of a composition; a bare string means its `kind`."""
    value = composition[name]
    return {"kind": value} if isinstance(value, str) else dict(value)
