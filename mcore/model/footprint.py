"""What a training step takes of a device's memory: told from shapes, before anything is made.

    bytes = fixed + rows * row + logits

`fixed` are the parameters, their gradients and two moments; `row` is what the forward pass keeps of
a row for the backward pass, and as much again of the part that is at work. Kernels keep less or
more than that: it is good to a third.
"""

from math import prod
from typing import NamedTuple

import numpy as np

from mcore.layers.product import number_type, real_of
from mcore.model.attention_mixer import AttentionMixer
from mcore.model.block import Mlp
from mcore.model.layout import Layout
from mcore.model.memory_mixer import MemoryMixer
from mcore.model.parallel import Parallel
from mcore.model.part import Part
from mcore.model.projection import Projection

COPIES = 4
"""Arrays as large as the parameters: these, their gradients, and AdamW's two."""

BLOCK = 1 << 27
"""Logits that exist at a time."""


class Footprint(NamedTuple):
    """Bytes of a training step.

    Attributes:
        fixed: whatever the batch is.
        row: of each row of the batch.
        logits: of each row's logits and their gradient.
        most_logits: of all that exist at a time.
    """

    fixed: int
    row: int
    logits: int
    most_logits: int

    def size(self, rows: int) -> int:
        """Of a step with so many rows."""
        return self.fixed + rows * self.row + min(rows * self.logits, self.most_logits)

    def rows_in(self, room: int) -> int:
        """How many rows fit; 0 if not even one does."""
        few = (room - self.fixed) // (self.row + self.logits)
        many = (room - self.fixed - self.most_logits) // self.row
        return max(few, many, 0)


def footprint(layout: Layout, tokens: int, dtype: str) -> Footprint:
    """Of steps over rows of so many tokens."""
    sizes = np.dtype(number_type(dtype)).itemsize, np.dtype(real_of(dtype)).itemsize
    stream = 2 * layout.width * sizes[0]
    parameters = sum(prod(shape) for shape in layout.shapes().values())
    kept = [kept_bytes(part.part, tokens, sizes) + stream for part in layout.parts.values()]
    outputs = layout.ends.outputs
    return Footprint(
        fixed=COPIES * sizes[1] * parameters,
        row=int(tokens * (sum(kept) + max(kept) + stream)),
        logits=sum(sizes) * tokens * outputs,
        most_logits=sum(sizes) * max(BLOCK, outputs),
    )


def kept_bytes(part: Part, tokens: int, sizes: tuple[int, int]) -> float:
    """Bytes per token that a part's forward keeps, its input aside.

    `sizes` are those of a number that goes from part to part, and of one inside a mixer.
    """
    if isinstance(part, Parallel):
        return sum(kept_bytes(each, tokens, sizes) for each in part.parts.values())
    if isinstance(part, Mlp):
        return 2.0 * part.hidden * sizes[0]
    if not isinstance(part, AttentionMixer | MemoryMixer):
        return 0.0
    out = part.sizes.heads * part.sizes.value
    inside = _projected(part.projection) + out
    if isinstance(part, MemoryMixer):
        inside += part.sizes.heads * _remembered(part, tokens)
    return inside * sizes[1] + out * sizes[0]


def _projected(projection: Projection) -> float:
    """Columns, and the inputs made of them."""
    derived = sum(prod(projection.widths[source.name]) for source in projection.derived)
    made = sum(slot.width for slot in projection.slots) + derived
    return float(projection.slots[-1].columns.stop + projection.heads * made)


def _remembered(mixer: MemoryMixer, tokens: int) -> float:
    """Numbers per head: answers, checkpoints, and gates if the readout has any."""
    cost = mixer.cost
    seen = cost.checkpoints(tokens)
    gates = 2.0 * (seen + 1) if mixer.memory.readout.routing else 0.0
    return mixer.sizes.value + gates + (seen + 1) * cost.state_numbers / tokens
