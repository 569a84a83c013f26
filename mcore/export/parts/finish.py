"""From a memory's answer to what the last projection sees: norm, gate, skip in a rule's order."""

from mcore.export.algebra import flat, per_head, rms_norm, silu
from mcore.export.builder import Tensor
from mcore.export.parts.base import Around
from mcore.model.finish import NORM, Finish


def finished(finish: Finish, around: Around, y: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    """(B, H, V) of y (B, H, V), with the inputs `z` and `skip` where they are used."""
    wide = finish.heads * finish.value
    for stage in finish.order:
        if stage == "norm":
            y = rms_norm(y, around.weight(y.builder, NORM), finish.value)
        elif stage == "wide_norm":
            weight = around.weight(y.builder, NORM)
            y = per_head(rms_norm(flat(y), weight, wide), finish.heads)
        elif stage == "gate":
            y = y * silu(inputs["z"])
        else:
            y = y * inputs["z"] if stage == "times" else y + inputs["skip"]
    return y
