"""What a graph says of itself: its `metadata_props`, and a line for every tensor."""

import json
from collections.abc import Sequence
from typing import Any

from mcore.export.declared import NEXT, Declared
from mcore.export.program import Program

KINDS = {
    "step": "one token of every row: feed each `next.NAME` that comes out as NAME with the next",
    "sequence": "a whole sequence from its first token; `next.NAME` is the state to go on from",
}

BEGIN = "zeros: before the first token every state is zero, of any row alone too"


def said(declared: Declared) -> str:
    """A tensor in one line."""
    return f"({declared.axes}) {declared.meaning}"


def properties(
    program: Program, kind: str, taken: Sequence[Declared], given: Sequence[Declared]
) -> dict[str, str]:
    """Metadata of a model: facts, and all tensors as JSON."""
    states = {declared.name for declared in program.states}
    tensors = [_entry(declared, "input", states) for declared in taken]
    tensors += [_entry(declared, "output", states) for declared in given]
    return {
        **program.facts,
        "mcore.graph": f"{kind}: {KINDS[kind]}",
        "mcore.initial": BEGIN,
        "mcore.tensors": json.dumps(tensors),
    }


def _entry(declared: Declared, side: str, states: set[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": declared.name,
        "is": side,
        "axes": declared.axes,
        "shape": list(declared.shape),
        "dtype": declared.dtype,
        "meaning": declared.meaning,
    }
    if declared.name.removeprefix(NEXT) in states:
        entry["is"] = "state" if side == "input" else "next state"
        entry["initial"] = "zeros"
    return entry
