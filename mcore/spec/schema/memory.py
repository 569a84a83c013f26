"""The memory section: one choice on each of three axes, and how a segment starts."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from mcore.axes import make_cache, make_readout, make_recurrence, make_segmentation
from mcore.conflicts import conflicts
from mcore.spec.schema.base import Finding, Section, refuse
from mcore.spec.schema.cache import CacheSpec
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
    cache: CacheSpec = Field(
        default=CacheSpec(), description="What bounds the checkpoints on an endless stream."
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
    cache: CacheSpec | None = Field(default=None, description="Instead of memory.cache.")

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
    found = conflicts(
        make_recurrence(_options(memory.recurrence)),
        make_segmentation(_options(memory.segmentation)),
        make_readout(_options(memory.readout)),
        make_cache(_options(memory.cache)),
    )
    return [Finding(key, message, (other,)) for key, other, message in found]


def _options(section: Section) -> dict[str, Any]:
    return section.model_dump(exclude_none=True)
