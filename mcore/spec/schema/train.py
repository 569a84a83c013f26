"""The train section: steps, optimizer, schedule, and when to look."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mcore.spec.schema.base import (
    BelowOne,
    Count,
    CountOrZero,
    Finding,
    Fraction,
    Listed,
    NonNegative,
    Positive,
    Section,
    Shorthand,
    refuse,
)


class OptimizerSpec(Section):
    """AdamW with decoupled weight decay."""

    discriminator: ClassVar[str] = "kind"
    noun: ClassVar[str] = "optimizer"

    kind: Literal["adamw"] = Field(
        default="adamw", description="The update rule of the parameters."
    )
    lr: Positive = Field(default=3e-3, description="Learning rate at the top of the schedule.")
    betas: Annotated[tuple[BelowOne, BelowOne], Listed] = Field(
        default=(0.9, 0.95),
        description="Decay of the running means of gradients and their squares.",
    )
    eps: Positive = Field(default=1e-8, description="Added to the denominator.")
    weight_decay: NonNegative = Field(
        default=0.1, description="Share of a weight lost, times lr, a step."
    )


def _one_message(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError:
        raise PydanticCustomError(
            "warmup", "needs a fraction of the steps (0.0 to 1.0), or a whole number of steps"
        ) from None


class TrainSpec(Section):
    """How the parameters are found."""

    steps: Count = Field(default=1000, description="Optimizer steps.")
    batch: Count = Field(default=32, description="Rows in a step (B).")
    truncate: Count | None = Field(
        default=None,
        description="Tokens of a row in a step, its state carried on to the next; whole rows if "
        "null.",
    )
    optimizer: Annotated[OptimizerSpec, Shorthand("kind")] = Field(
        default=OptimizerSpec(), description="The update rule of the parameters."
    )
    warmup: Annotated[CountOrZero | Fraction, WrapValidator(_one_message)] = Field(
        default=0.1, description="Steps of rising lr: a fraction (0.1), or a number of steps (100)."
    )
    final_lr: Fraction = Field(
        default=0.1, description="Where the cosine ends, as a fraction of lr."
    )
    clip: NonNegative = Field(
        default=1.0, description="Largest norm of a gradient; 0 = not clipped."
    )
    eval_every: CountOrZero = Field(
        default=0, description="Steps between evaluations; 0 = at the end."
    )
    save_every: CountOrZero = Field(
        default=100, description="Steps between snapshots; 0 = at the end."
    )
    log_every: Count = Field(default=10, description="Steps between lines of progress.")
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = Field(
        default=0, description="Decides parameters and batches."
    )

    @property
    def warmup_steps(self) -> int:
        """Steps of rising learning rate."""
        if isinstance(self.warmup, int):
            return self.warmup
        return round(self.warmup * self.steps)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.warmup, int) and self.warmup > self.steps:
            message = (
                f"{self.warmup} steps of warmup do not fit into {self.steps} steps; give fewer, or "
                "a fraction such as 0.1"
            )
            refuse([Finding(("warmup",), message, (("steps",),))])
        return self
