"""The sizes that all parts of a network share."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Widths and switches of a network, resolved from a spec.

    Attributes:
        width: D, numbers per token between blocks.
        heads: H.
        key: K, key width of a head.
        value: V, value width of a head.
        conv: tokens that the short convolution sees; 0 for none.
        hidden: inner width of the mlp; 0 for none.
        output_gate: whether a memory's answer is gated.
        rope: whether attention rotates its queries and keys by position.
    """

    width: int
    heads: int
    key: int
    value: int
    conv: int
    hidden: int
    output_gate: bool
    rope: bool
