"""The memory section: one choice on each of three axes, and how a segment starts."""

from typing import Literal, Self

from pydantic import Field, model_validator

from mcore.spec.schema.base import Finding, Section, refuse
from mcore.spec.schema.readout import NoReadout, Readout
from mcore.spec.schema.recurrence import SECTIONS, Recurrence
from mcore.spec.schema.segmentation import NoSegmentation, Segmentation

Start = Literal["independent", "checkpoint"]


class MemorySpec(Section):
    """What the memory layers are made of."""

    recurrence: Recurrence = Field(
        default=SECTIONS["linear"](),
        description="What one token does to the memory, and how it is read.",
    )
    segmentation: Segmentation = Field(
        default=NoSegmentation(), description="Where a sequence is cut and a checkpoint is kept."
    )
    readout: Readout = Field(
        default=NoReadout(), description="How much each checkpoint counts for each token."
    )
    start: Start = Field(
        default="independent",
        description="A segment starts empty, or from the checkpoint before it.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse(memory_findings(self))
        return self


class MemoryOverride(Section):
    """The axes in which one block's memory differs from the `memory` section.

    An axis given here replaces the section's whole axis.
    """

    recurrence: Recurrence | None = Field(default=None, description="Instead of memory.recurrence.")
    segmentation: Segmentation | None = Field(
        default=None, description="Instead of memory.segmentation."
    )
    readout: Readout | None = Field(default=None, description="Instead of memory.readout.")
    start: Start | None = Field(default=None, description="Instead of memory.start.")

    def over(self, memory: MemorySpec) -> MemorySpec:
        """The block's memory. Not checked: `memory_findings` does that."""
        changed = {name: value for name, value in self if value is not None}
        return memory.model_copy(update=changed)


def memory_findings(memory: MemorySpec) -> list[Finding]:
    """What the axes of a memory rule out."""
    if memory.segmentation.kind == "none" and memory.readout.kind != "none":
        message = (
            f"{memory.readout.kind} reads cached checkpoints, and segmentation none keeps none; "
            "set segmentation to {kind: constant, length: 64}, or readout to none"
        )
        return [Finding(("readout",), message, (("segmentation",),))]
    return []
