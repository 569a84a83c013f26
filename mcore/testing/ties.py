"""Routing queries for which float32 and float64 select the same checkpoints.

At a tie selection is not differentiable, and near one the last bit decides: such u are drawn again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array

Choice = Mapping[str, Any]
"""One axis of a composition, with `kind`."""

DRAWS = 64
CLEAR_GAP = 0.02


def rounded(x: Array) -> Array:
    """The nearest numbers that fit in float32, as float64."""
    nearest: Array = x.astype(np.float32).astype(np.float64)
    return nearest


class _Row(NamedTuple):
    """Keys (T, H, K) of a row as routing pools them, its segment lengths, and the readout."""

    keys: Array
    lengths: Sequence[int]
    readout: Choice


def clear_of_ties(
    inputs: Mapping[str, Array], axes: tuple[Choice, Choice, Choice], rng: np.random.Generator
) -> Array:
    """u with, for each token, the clearest of several draws, or the first that is clear enough.

    axes = (recurrence, segmentation, readout).
    """
    rule, segmentation, readout = axes
    u = inputs["u"].copy()
    keys = inputs["k"]
    if rule.get("feature_map") == "elu1":
        keys = np.where(keys > 0, keys + 1, np.exp(np.minimum(keys, 0)))
    B, T, H, _ = u.shape
    for b, t, h in np.ndindex(B, T, H):
        row = _Row(keys[b], _lengths(segmentation, T, b), readout)
        u[b, t, h] = _clearest(u[b, t, h], row, (t, h), rng)
    return u


def _clearest(u: Array, row: _Row, place: tuple[int, int], rng: np.random.Generator) -> Array:
    best, best_gap = u, _gap(u, row, *place)
    for _ in range(DRAWS):
        if best_gap >= CLEAR_GAP:
            break
        draw = rounded(rng.standard_normal(u.shape))
        gap = _gap(draw, row, *place)
        if gap > best_gap:
            best, best_gap = draw, gap
    return best


def _gap(u: Array, row: _Row, t: int, h: int) -> float:
    """Between the last selected and the first left-out logit of one token."""
    ends = np.cumsum(row.lengths)
    starts = ends - row.lengths
    pooled, top_k = row.readout.get("pool", "mean"), int(row.readout["top_k"])
    logits = [
        u @ getattr(row.keys[start:end, h], pooled)(axis=0)
        for start, end in zip(starts, ends, strict=True)
        if end <= t
    ]
    if len(logits) <= top_k:
        return np.inf
    ranked = np.sort(logits)[::-1] / np.sqrt(len(u))
    return float(ranked[top_k - 1] - ranked[top_k])


def _lengths(segmentation: Choice, tokens: int, row: int) -> list[int]:
    kind = segmentation["kind"]
    if kind == "constant":
        length = segmentation["length"]
        return [min(length, tokens - start) for start in range(0, tokens, length)]
    if kind == "logarithmic":
        return [1 << bit for bit in reversed(range(tokens.bit_length())) if tokens >> bit & 1]
    if kind == "given":
        lengths = segmentation["lengths"]
        return list(lengths[row] if isinstance(lengths[0], list) else lengths)
    return [tokens]
