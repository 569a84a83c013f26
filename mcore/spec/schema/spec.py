"""The whole spec, and what its sections demand of each other."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from mcore.recurrence import RULES
from mcore.spec.schema.backend import ON_HOST, BackendSpec
from mcore.spec.schema.base import Finding, KeyPath, Section, Shorthand, refuse
from mcore.spec.schema.data import DataSpec, MqarSpec, TextSpec
from mcore.spec.schema.memory import MemorySpec, memory_findings
from mcore.spec.schema.model import ModelSpec
from mcore.spec.schema.train import TrainSpec

_VariantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_+-]*$", max_length=40)]


class Spec(Section):
    """A model, what it is trained on, and how. Every section may be left out."""

    model: ModelSpec = Field(default=ModelSpec(), description="The network around the memories.")
    memory: MemorySpec = Field(default=MemorySpec(), description="What the memories are made of.")
    data: DataSpec = Field(default=MqarSpec(), description="What the model is trained on.")
    train: TrainSpec = Field(default=TrainSpec(), description="How the parameters are found.")
    backend: Annotated[BackendSpec, Shorthand("kind")] = Field(
        default=BackendSpec(), description="Who executes the operations."
    )
    dtype: Literal["float32", "float64", "bfloat16"] = Field(
        default="float32",
        description="Type of all numbers; bfloat16: of activations, beside float32 parameters.",
    )
    compare: Annotated[dict[_VariantName, dict[str, Any]], Field(max_length=64)] = Field(
        default={},
        description="Variants to train as well: name -> {dotted path: value}, as in --set.",
    )

    def memories(self) -> tuple[MemorySpec | None, ...]:
        """The memory of each block, overrides applied; None for a block of pure attention."""
        return tuple(
            None
            if block.mixer == "attention"
            else block.memory.over(self.memory)
            if block.memory
            else self.memory
            for block in self.model.resolved_blocks()
        )

    @model_validator(mode="after")
    def _check(self) -> Self:
        found = _length_findings(self, self.memory, ("memory",)) + _width_findings(self)
        found += _truncate_findings(self) + _document_findings(self) + _dtype_findings(self)
        for index, block in enumerate(self.model.blocks or ()):
            if block.memory is not None:
                path = ("model", "blocks", index, "memory")
                memory = block.memory.over(self.memory)
                found += [_in_block(finding, path) for finding in memory_findings(memory)]
                if block.memory.segmentation is not None:
                    found += _length_findings(self, memory, path)
        refuse(found)
        return self


def _in_block(finding: Finding, path: KeyPath) -> Finding:
    """What stands in a block may contradict the block or the memory section."""
    inside = finding.below(path)
    section = tuple(("memory", *other) for other in finding.needs)
    return inside._replace(needs=(*inside.needs, *section, ("memory", *finding.path)))


def _width_findings(spec: Spec) -> list[Finding]:
    key, value = spec.model.key_width, spec.model.value_width
    kinds = [memory.recurrence.kind for memory in spec.memories() if memory]
    square = next((kind for kind in kinds if RULES[kind].square), None)
    if square is None or key == value:
        return []
    message = f"is {value}, and {square} wants values as wide as keys; {key} would do"
    return [Finding(("model", "value"), message, (("model", "key"), ("memory", "recurrence")))]


def _truncate_findings(spec: Spec) -> list[Finding]:
    """Rows in pieces need pieces shorter than rows, and cuts that do not need the whole row."""
    truncate, length, path = spec.train.truncate, spec.data.length, ("train", "truncate")
    if truncate is None:
        return []
    if truncate > length:
        message = f"{truncate} is more than data.length, {length}; {length} or less would do"
        return [Finding(path, message, (("data", "length"),))]
    if isinstance(spec.data, TextSpec) and spec.data.documents:
        message = "rows that are carried on hold one document each; drop it, or data.documents"
        return [Finding(path, message, (("data", "documents"),))]
    kinds = {memory.segmentation.kind for memory in spec.memories() if memory}
    whole = sorted(kinds & {"logarithmic", "given"})
    if not whole:
        return []
    message = f"{whole[0]} cuts need the whole row; drop truncate, or cut by constant or adaptive"
    return [Finding(path, message, (("memory", "segmentation"),))]


def _dtype_findings(spec: Spec) -> list[Finding]:
    """Our backends on the host have no products of bfloat16."""
    if spec.dtype != "bfloat16" or spec.backend.kind not in ON_HOST:
        return []
    message = f"bfloat16 is for backend: cupy; {spec.backend.kind} runs float32 or float64"
    return [Finding(("dtype",), message, (("backend",),))]


def _document_findings(spec: Spec) -> list[Finding]:
    """Files that are kept apart divide a row elsewhere than lengths that count from its start."""
    kinds = {memory.segmentation.kind for memory in spec.memories() if memory}
    if not (isinstance(spec.data, TextSpec) and spec.data.documents and "given" in kinds):
        return []
    message = "given cuts count from the start of a row, and files divide it; cut by constant"
    return [Finding(("data", "documents"), message, (("memory", "segmentation"),))]


def _length_findings(spec: Spec, memory: MemorySpec, path: KeyPath) -> list[Finding]:
    if memory.segmentation.kind != "given":
        return []
    rows, length, batch = memory.segmentation.rows, spec.data.length, spec.train.batch
    path = (*path, "segmentation", "lengths")
    found = []
    if len(rows) not in (1, batch):
        message = f"lists {len(rows)} rows, and train.batch is {batch}; give one list, or {batch}"
        found.append(Finding(path, message, (("train", "batch"),)))
    wrong = next((row for row in rows if sum(row) != length), None)
    if wrong is not None:
        message = f"sum to {sum(wrong)}, and data.length is {length}; make them equal"
        found.append(Finding(path, message, (("data", "length"),)))
    return found
