"""Where one row of T tokens is cut (Behrouz et al. 2026, sections 3.1 and 4.2)."""

from collections.abc import Mapping
from typing import Any


def segment_lengths(segmentation: Mapping[str, Any], tokens: int, row: int) -> list[int]:
    """Lengths of the segments of one row, oldest first; they sum to `tokens`."""
    kind = segmentation["kind"]
    if kind == "none":
        return [tokens]
    if kind == "constant":
        return constant(tokens, segmentation["length"])
    if kind == "logarithmic":
        return binary_expansion(tokens)
    if kind == "given":
        return given(segmentation["lengths"], row)
    raise ValueError(kind)


def constant(tokens: int, length: int) -> list[int]:
    """Pieces of `length`, the last one as short as it comes out."""
    whole, rest = divmod(tokens, length)
    return [length] * whole + [rest] * (rest > 0)


def binary_expansion(tokens: int) -> list[int]:
    """The powers of two that make up `tokens`, largest first: 37 is 32, 4, 1."""
    digits = bin(tokens)[2:]
    return [2**place for place in range(len(digits) - 1, -1, -1) if digits[-1 - place] == "1"]


def given(lengths: list[Any], row: int) -> list[int]:
    """One list for all rows, or one list for each row."""
    return list(lengths[row]) if isinstance(lengths[0], list | tuple) else list(lengths)
