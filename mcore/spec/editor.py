"""The JSON schema of specs, for editors."""

from typing import Any

from mcore.spec.lookup import sections_at
from mcore.spec.schema import Spec

_AXES = (("memory", "recurrence"), ("memory", "segmentation"), ("memory", "readout"), ("data",))


def json_schema() -> dict[str, Any]:
    """Every key with its meaning, type, range and default (JSON Schema 2020-12).

    Rules that compare keys (heads divide width, ...) are not in it; `load_spec` knows them.
    """
    schema = Spec.model_json_schema()
    for section in (section for axis in _AXES for section in sections_at(axis)):
        definition = schema["$defs"][section.__name__]
        definition["required"] = [section.discriminator, *definition.get("required", [])]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "mcore spec",
    }
