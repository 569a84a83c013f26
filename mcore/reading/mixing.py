"""Memories mixed by constant gates, one mixture per segment: `sum_i g_si M_i`.

Where each segment counts what the one before counted and one memory more (a residual readout), the
mixtures are running sums: their cost does not grow with the number of memories. Else they are
products of gates and memories.
"""

from typing import NamedTuple

import numpy as np

from mcore.arrays import Array, namespace
from mcore.picking import accumulate, accumulate_later, entries, put_entries
from mcore.placing import like


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
        mixed = like(flat, gates) @ flat
    else:
        mixed = namespace(flat).empty((*gates.shape[:2], flat.shape[-1]), flat.dtype)
        mixed[:, 0] = (like(flat, grown.first)[:, None] @ flat)[:, 0]
        rows = np.arange(len(flat))[:, None]
        mixed[:, 1:] = like(flat, grown.weight)[..., None] * entries(flat, rows, grown.column)
        accumulate(mixed)
    return mixed.reshape(*gates.shape[:2], *memories.shape[2:])


def mixtures_backward(gates: Array, d_mixtures: Array) -> Array:
    """Gradient with respect to the memories (B, C, ...)."""
    flat, grown = d_mixtures.reshape(*d_mixtures.shape[:2], -1), growth(gates)
    if grown is None:
        d_flat = like(flat, gates).swapaxes(1, 2) @ flat
    else:
        later = flat.copy()
        accumulate_later(later)
        d_flat = like(flat, grown.first)[..., None] * later[:, :1]
        rows, segments = np.nonzero(grown.weight)
        place, weights = (rows, grown.column[rows, segments]), grown.weight[rows, segments]
        more = like(flat, weights)[:, None] * entries(later, rows, segments + 1)
        put_entries(d_flat, place, entries(d_flat, *place) + more)
    return d_flat.reshape(gates.shape[0], gates.shape[2], *d_mixtures.shape[2:])


def growth(gates: Array) -> Growth | None:
    """How gates (B, S, C) grow, or None if some gate shrinks or two grow at once."""
    more = np.diff(gates, axis=1)
    if (more < 0).any() or ((more > 0).sum(axis=-1) > 1).any():
        return None
    return Growth(gates[:, 0], more.argmax(axis=-1), more.max(axis=-1))
