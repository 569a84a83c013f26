"""The segmentation axis of a spec: where a sequence is cut and a checkpoint is kept."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mcore.spec.schema.base import Count, Finding, Fraction, Listed, Section, Shorthand, refuse


class SegmentationKind(Section):
    """Base of the segmentations."""

    discriminator: ClassVar[str] = "kind"
    noun: ClassVar[str] = "segmentation"


class NoSegmentation(SegmentationKind):
    """One segment that never ends: nothing is cached."""

    kind: Literal["none"] = Field(default="none", description="No cuts, no cache.")


class Constant(SegmentationKind):
    """A checkpoint every `length` tokens."""

    kind: Literal["constant"] = Field(default="constant", description="Segments of equal length.")
    length: Count = Field(default=64, description="Tokens in a segment.")


class Logarithmic(SegmentationKind):
    """Powers of two that sum to the length, largest first; cannot stream."""

    kind: Literal["logarithmic"] = Field(
        default="logarithmic", description="Segments of falling powers of two; cannot stream."
    )


class Adaptive(SegmentationKind):
    """Cuts before a token that does not fit its segment."""

    kind: Literal["adaptive"] = Field(
        default="adaptive", description="Segments that end where the content changes."
    )
    rule: Literal["drift", "surprise"] = Field(
        default="drift",
        description="What is measured: a key far from the mean key, or a value far from the "
        "memory's answer.",
    )
    threshold: Fraction = Field(
        default=0.5, description="A token that measures more (0 to 1) starts a segment."
    )
    min: Count = Field(default=16, description="Tokens that a segment has at least.")
    max: Count = Field(default=256, description="Tokens that a segment has at most.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min > self.max:
            message = f"{self.min} is more than max, {self.max}; make it {self.max} or less"
            refuse([Finding(("min",), message, (("max",),))])
        return self


def _one_message(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError:
        raise PydanticCustomError(
            "lengths",
            "needs lengths of 1 or more, e.g. [128, 128], or one such list per row of the batch",
        ) from None


_Row = Annotated[tuple[Count, ...], Field(min_length=1), Listed]
_Rows = Annotated[tuple[_Row, ...], Field(min_length=1), Listed]


class Given(SegmentationKind):
    """Lengths that the spec lists; they sum to `data.length`."""

    kind: Literal["given"] = Field(default="given", description="Segments as listed.")
    lengths: Annotated[_Row | _Rows, WrapValidator(_one_message)] = Field(
        description="One list of segment lengths for all rows, or one per row of the batch."
    )

    @property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        """The lists of lengths: one for all rows, or one per row."""
        rows = tuple(row for row in self.lengths if isinstance(row, tuple))
        return rows or (tuple(n for n in self.lengths if isinstance(n, int)),)


Segmentation = Annotated[
    NoSegmentation | Constant | Logarithmic | Adaptive | Given,
    Field(discriminator="kind"),
    Shorthand("kind"),
]
