"""Specs: YAML or mapping -> checked, frozen `Spec`. Names load on first use (pydantic is slow)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcore.spec.compare import variants
    from mcore.spec.dump import dump_spec
    from mcore.spec.editor import json_schema
    from mcore.spec.load import load_spec, read_spec
    from mcore.spec.schema import Spec

__all__ = ["Spec", "dump_spec", "json_schema", "load_spec", "read_spec", "variants"]

_HOME = {
    "Spec": "schema",
    "dump_spec": "dump",
    "json_schema": "editor",
    "load_spec": "load",
    "read_spec": "load",
    "variants": "compare",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
