"""The readout axis of a spec: how much each checkpoint counts for each token."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mcore.readout.routed import Query
from mcore.router import Online, Pooling
from mcore.spec.schema.base import (
    Count,
    CountOrZero,
    Finding,
    Positive,
    Section,
    Shorthand,
    refuse,
)


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


class RoutedKind(ReadoutKind):
    """Base of the readouts that choose by content; the first value of each key is the usual one."""

    kind: str = ""
    pool: Pooling = Field(
        default="mean", description="A context is the mean of a segment's keys, or their sum."
    )
    scale: Positive | None = Field(
        default=None, description="Logits are multiplied by it; 1/sqrt(key width) if null."
    )
    temperature: bool = Field(
        default=False, description="Logits are multiplied by a trained number per head as well."
    )
    u: Query = Field(
        default="learned", description="Contexts are compared with a projection, or with q."
    )
    online: Online = Field(
        default="inside", description="The online memory shares in the softmax, or has gate 1."
    )
    detach: bool = Field(default=False, description="No gradient flows through the cache.")


class Grm(RoutedKind):
    """Gated residual memory: answers weighed by a softmax over contexts."""

    kind: Literal["grm"] = Field(default="grm", description="Weigh all answers by a softmax.")


class Soup(RoutedKind):
    """Memory soup: the gates of grm mix the memories before one read."""

    kind: Literal["soup"] = Field(
        default="soup", description="Mix all memories by a softmax, read once."
    )


class Ssc(RoutedKind):
    """Sparse selective caching: grm over the `top_k` best checkpoints."""

    kind: Literal["ssc"] = Field(
        default="ssc", description="Weigh the answers of the best checkpoints."
    )
    top_k: Annotated[Count, Field(le=2**16)] = Field(
        default=2, description="Checkpoints that a token reads."
    )
    router: Literal["learned", "random"] = Field(
        default="learned", description="Take those with the largest logits, or take them by lot."
    )
    seed: CountOrZero | None = Field(
        default=None, description="Of the lots, 0 if not given; only with router random."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.seed is not None and self.router != "random":
            message = "seed belongs to router random; set router: random, or drop seed"
            refuse([Finding(("seed",), message, (("router",),))])
        return self


class Sigmoid(ReadoutKind):
    """A gate per channel for each checkpoint, made from the memories' answers."""

    kind: Literal["sigmoid"] = Field(
        default="sigmoid", description="Add gated answers; gates are made from the answers."
    )


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
    NoReadout | Residual | Grm | Soup | Ssc | Sigmoid | MovingAverage,
    Field(discriminator="kind"),
    Shorthand("kind"),
]
