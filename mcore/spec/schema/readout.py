"""The readout axis of a spec: how much each checkpoint counts for each token."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mcore.spec.schema.base import Count, Finding, Section, Shorthand, refuse


class ReadoutKind(Section):
    """Base of the readouts."""

    discriminator: ClassVar[str] = "kind"
    noun: ClassVar[str] = "readout"


class NoReadout(ReadoutKind):
    """Only the online memory is read."""

    kind: Literal["none"] = Field(default="none", description="Read the online memory only.")


class Residual(ReadoutKind):
    """The answers of all memories, added up."""

    kind: Literal["residual"] = Field(
        default="residual", description="Add the answers of all memories."
    )


class Grm(ReadoutKind):
    """Gated residual memory: answers weighed by a softmax over contexts."""

    kind: Literal["grm"] = Field(default="grm", description="Weigh all answers by a softmax.")


class Soup(ReadoutKind):
    """Memory soup: the gates of grm mix the memories before one read."""

    kind: Literal["soup"] = Field(
        default="soup", description="Mix all memories by a softmax, read once."
    )


class Ssc(ReadoutKind):
    """Sparse selective caching: grm over the `top_k` best checkpoints."""

    kind: Literal["ssc"] = Field(
        default="ssc", description="Weigh the answers of the best checkpoints."
    )
    top_k: Count = Field(default=2, description="Checkpoints that a token reads.")


class MovingAverage(ReadoutKind):
    """A parameter-free average, for models that were trained without a cache."""

    kind: Literal["moving_average"] = Field(
        default="moving_average", description="Average all answers."
    )
    weights: Literal["uniform", "ema"] = Field(
        default="uniform",
        description="A plain mean, or an exponential one that favours the latest.",
    )
    rate: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="How fast ema forgets, 0.5 if not given; only with weights ema."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_rate(cls, value: Any) -> Any:
        wants = isinstance(value, dict) and value.get("weights") == "ema"
        return {**value, "rate": 0.5} if wants and value.get("rate") is None else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.rate is not None and self.weights != "ema":
            message = "rate belongs to weights ema; set weights: ema, or drop rate"
            refuse([Finding(("rate",), message, (("weights",),))])
        return self


Readout = Annotated[
    NoReadout | Residual | Grm | Soup | Ssc | MovingAverage,
    Field(discriminator="kind"),
    Shorthand("kind"),
]
