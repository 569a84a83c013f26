"""Which class writes which part of a network. `PARTS` is the one list to extend."""

from mcore.errors import SpecError
from mcore.export.parts.base import Around, PartForm
from mcore.model.part import Part

PARTS: dict[str, type[PartForm]] = {}
"""Name of a part's class -> how it is written; filled by `mcore.export.parts`."""


def part_form(part: Part, around: Around) -> PartForm:
    """A part as a graph.

    Raises:
        SpecError: nobody has written it down as one.
    """
    kind = type(part).__name__
    if kind not in PARTS:
        raise SpecError(f"{around.name}: {kind} has no ONNX form; {', '.join(PARTS)} have")
    return PARTS[kind](part, around)
