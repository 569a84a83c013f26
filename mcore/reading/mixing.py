"""Memories mixed by constant gates, one mixture per segment: `sum_i g_si M_i`.

Where each segment counts what the one before counted and one memory more (a residual readout), the
mixtures are running sums: their cost does not grow with the number of memories. Else they are
products of gates and memories.
"""

from typing import NamedTuple

import numpy as np

from mcore.arrays import Array


class Growth(NamedTuple):
    """What each segment counts beyond the one before it.

    Attributes:
        first: (B, C) gates of the first segment.
        column: (B, S - 1) of the one memory more.
        weight: (B, S - 1) its gate; 0 where there is none.
    """

    first: Array
    column: Array
    weight: Array


def mixtures(gates: Array, memories: Array) -> Array:
    """(B, S, ...) from gates (B, S, C) and memories (B, C, ...)."""
    flat, grown = memories.reshape(*memories.shape[:2], -1), growth(gates)
    if grown is None:
        mixed = gates @ flat
    else:
        mixed = np.empty((*gates.shape[:2], flat.shape[-1]), flat.dtype)
        mixed[:, 0] = (grown.first[:, None] @ flat)[:, 0]
        rows = np.arange(len(flat))[:, None]
        mixed[:, 1:] = grown.weight[..., None] * flat[rows, grown.column]
        for s in range(1, mixed.shape[1]):
            mixed[:, s] += mixed[:, s - 1]
    return mixed.reshape(*gates.shape[:2], *memories.shape[2:])


def mixtures_backward(gates: Array, d_mixtures: Array) -> Array:
    """Gradient with respect to the memories (B, C, ...)."""
    flat, grown = d_mixtures.reshape(*d_mixtures.shape[:2], -1), growth(gates)
    if grown is None:
        d_flat = gates.swapaxes(1, 2) @ flat
    else:
        later = flat.copy()
        for s in range(later.shape[1] - 2, -1, -1):
            later[:, s] += later[:, s + 1]
        d_flat = grown.first[..., None] * later[:, :1]
        rows, segments = np.nonzero(grown.weight)
        columns, weights = (x[rows, segments] for x in (grown.column, grown.weight))
        d_flat[rows, columns] += weights[:, None] * later[rows, segments + 1]
    return d_flat.reshape(gates.shape[0], gates.shape[2], *d_mixtures.shape[2:])


def growth(gates: Array) -> Growth | None:
    """How gates (B, S, C) grow, or None if some gate shrinks or two grow at once."""
    more = np.diff(gates, axis=1)
    if (more < 0).any() or ((more > 0).sum(axis=-1) > 1).any():
        return None
    return Growth(gates[:, 0], more.argmax(axis=-1), more.max(axis=-1))
