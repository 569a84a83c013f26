"""The model section: the network around the memories."""

from math import isqrt
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mcore.spec.schema.base import (
    Count,
    CountOrZero,
    Finding,
    Listed,
    NonNegative,
    Section,
    Shorthand,
    refuse,
)
from mcore.spec.schema.memory import MemoryOverride


class BlockSpec(Section):
    """One block of a hybrid; a bare string stands for its mixer."""

    discriminator: ClassVar[str] = "mixer"
    noun: ClassVar[str] = "mixer"

    mixer: Literal["memory", "attention", "parallel"] = Field(
        default="memory", description="What mixes tokens; parallel is memory beside attention."
    )
    join: Literal["sum", "gate"] = Field(
        default="sum",
        description="What parallel makes of both answers: their sum, or a gated mean by channel.",
    )
    window: Count | None = Field(
        default=None, description="Tokens that attention sees; model.window if not given."
    )
    memory: MemoryOverride | None = Field(
        default=None,
        description="Axes in which this block's memory differs from the memory section.",
    )


class ModelSpec(Section):
    """Sizes and parts of the network."""

    width: Count = Field(default=128, description="Numbers per token between blocks (D).")
    depth: Annotated[Count, Field(le=1024)] = Field(default=2, description="Blocks.")
    heads: Count = Field(default=4, description="Memories per block, side by side (H).")
    key: Count | None = Field(
        default=None, description="Key width of a head (K); width / heads if null."
    )
    value: Count | None = Field(
        default=None, description="Value width of a head (V); as key if null."
    )
    conv: CountOrZero = Field(
        default=4, description="Tokens that the short convolution sees; 0 = none."
    )
    mlp: Annotated[NonNegative, Field(le=1e6)] = Field(
        default=2.667, description="Hidden width of the mlp / width; 0 = no mlp."
    )
    output_gate: bool = Field(default=True, description="Gate what a mixer returns.")
    tied: bool = Field(default=True, description="Share the weights of embedding and output.")
    mixer: Literal["memory", "attention"] = Field(
        default="memory", description="What mixes tokens in all blocks, unless blocks says it."
    )
    window: Count | None = Field(
        default=None, description="Tokens that attention sees; all if null."
    )
    rope: bool = Field(default=True, description="Rotary positions in attention.")
    blocks: Annotated[tuple[Annotated[BlockSpec, Shorthand("mixer")], ...], Listed] | None = Field(
        default=None, description="A hybrid, block by block; one entry for each of depth."
    )

    @property
    def key_width(self) -> int:
        """K, resolved."""
        return self.key or self.width // self.heads

    @property
    def value_width(self) -> int:
        """V, resolved."""
        return self.value or self.key_width

    def resolved_blocks(self) -> tuple[BlockSpec, ...]:
        """One BlockSpec for each of `depth`, with the section's mixer and window filled in."""
        blocks = self.blocks or (BlockSpec(mixer=self.mixer),) * self.depth
        return tuple(
            block.model_copy(update={"window": block.window or self.window})
            if block.mixer != "memory"
            else block
            for block in blocks
        )

    @model_validator(mode="after")
    def _check(self) -> Self:
        attends = any(block.mixer != "memory" for block in self.resolved_blocks())
        refuse([*_head_findings(self, attends), *_block_findings(self), *_window(self, attends)])
        return self


def _head_findings(model: ModelSpec, attends: bool) -> list[Finding]:
    if model.key is None and model.width % model.heads:
        message = (
            f"{model.heads} heads do not divide width {model.width}; "
            f"{_near_divisor(model.width, model.heads)} heads would do, or give key"
        )
        return [Finding(("heads",), message, (("width",), ("key",)))]
    if attends and model.rope and model.key_width % 2:
        message = (
            f"rotary positions need an even key width, not {model.key_width}; "
            "change key, or set rope: false"
        )
        return [Finding(("rope",), message, (("key",), ("heads",), ("width",), ("blocks",)))]
    return []


def _near_divisor(width: int, heads: int) -> int:
    """The largest divisor of `width` up to `heads`, found among pairs of divisors."""
    small = [n for n in range(1, isqrt(width) + 1) if width % n == 0]
    return max(n for n in (*small, *(width // n for n in small)) if n <= heads)


def _block_findings(model: ModelSpec) -> list[Finding]:
    if model.blocks is None:
        return []
    found = []
    if len(model.blocks) != model.depth:
        message = f"lists {len(model.blocks)} blocks, and depth is {model.depth}; make them equal"
        found.append(Finding(("blocks",), message, (("depth",),)))
    if model.mixer != "memory":
        message = "blocks says the mixer of each block; drop mixer, or drop blocks"
        found.append(Finding(("mixer",), message, (("blocks",),)))
    for index, block in enumerate(model.blocks):
        path = ("blocks", index)
        if block.window is not None and block.mixer == "memory":
            message = "window belongs to attention; drop it, or set mixer to attention or parallel"
            found.append(Finding((*path, "window"), message, ((*path, "mixer"),)))
        if block.join != "sum" and block.mixer != "parallel":
            message = "join belongs to a parallel block; drop it, or set mixer to parallel"
            found.append(Finding((*path, "join"), message, ((*path, "mixer"),)))
        if block.memory is not None and block.mixer == "attention":
            message = "an attention block has no memory; drop it, or set mixer to parallel"
            found.append(Finding((*path, "memory"), message, ((*path, "mixer"),)))
    return found


def _window(model: ModelSpec, attends: bool) -> list[Finding]:
    if model.window is None or attends:
        return []
    message = "window belongs to attention, and no block has any; drop it, or set mixer: attention"
    return [Finding(("window",), message, (("mixer",), ("blocks",)))]
