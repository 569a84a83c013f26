"""What happens at the borders of segments, for all tokens at once."""

import numpy as np

from mcore.arrays import Array
from mcore.segments import Segments


def restarts(segments: Segments) -> Array:
    """(B, T) whether a token begins a segment that restarts."""
    rows = np.arange(segments.rows)[:, None]
    begins = segments.bounds[rows, segments.index] == np.arange(segments.tokens)
    return np.ascontiguousarray(begins & segments.restart[rows, segments.index])


def at_ends(x: Array, segments: Segments) -> Array:
    """(B, T, ...) at the end of each segment: (B, S, ...), 0 for empty ones."""
    rows, ends = np.arange(segments.rows)[:, None], segments.bounds[:, 1:]
    filled = ends > segments.bounds[:, :-1]
    filled = filled.reshape(*filled.shape, *(1,) * (x.ndim - 2))
    return np.where(filled, x[rows, ends - 1], x.dtype.type(0))


def from_ends(d_ends: Array, segments: Segments) -> Array:
    """Gradient of `at_ends`."""
    dx = np.zeros((segments.rows, segments.tokens, *d_ends.shape[2:]), d_ends.dtype)
    row, segment = np.nonzero(segments.bounds[:, 1:] > segments.bounds[:, :-1])
    dx[row, segments.bounds[row, segment + 1] - 1] = d_ends[row, segment]
    return dx
