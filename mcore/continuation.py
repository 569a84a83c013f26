"""The state after a call, and the gradient that flows back through it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Routes, Scan
from mcore.cache import MemoryState, join, keep, keep_backward, kept
from mcore.reading import Scene, SceneGradient
from mcore.segments import Segments


@dataclass(frozen=True)
class MemorySaved:
    """What a memory's forward keeps for its backward. Opaque, but for `end`.

    Attributes:
        scene: what the readout worked on.
        scan, routes: what the operations returned.
        state: the state that came in, or None.
        before: the same, or an empty state.
        scan_saved, answer_saved, prepare_saved: for the operations' backwards.
    """

    scene: Scene
    scan: Scan
    routes: Routes | None
    state: MemoryState | None
    before: MemoryState
    scan_saved: Any
    answer_saved: Any
    prepare_saved: Any

    @cached_property
    def end(self) -> MemoryState:
        """The state after the last token, to go on from."""
        return end_state(self)


class Ended(NamedTuple):
    """Gradients that reach this call's results through the end state.

    Attributes:
        checkpoints: (B, cached + S, H, P) of the cache followed by this call's checkpoints.
        contexts: (B, cached + S, H, K) of their contexts.
    """

    checkpoints: Array
    contexts: Array


def end_state(saved: MemorySaved) -> MemoryState:
    """Append the checkpoints of completed segments; keep the open one as `online`."""
    segments, before = saved.scene.segments, saved.before
    rows = np.arange(segments.rows)
    at_border = _at_border(saved)
    contexts, keys = before.contexts, before.keys
    joined = join(before.checkpoints, saved.scan.checkpoints, segments.cached + segments.count)
    columns = _kept(saved)
    if saved.routes is not None:
        joined_contexts = join(contexts, saved.routes.contexts, segments.cached + segments.count)
        contexts = keep(joined_contexts, columns)
        keys = _open_keys(saved) * saved.routes.contexts[rows, segments.final]
    else:
        contexts = np.zeros((len(rows), columns.shape[1], *contexts.shape[2:]), contexts.dtype)
    return MemoryState(
        online=saved.scan.checkpoints[rows, segments.final],
        checkpoints=keep(joined, columns),
        contexts=contexts,
        keys=keys,
        position=before.position + segments.tokens,
        length=np.where(at_border, 0, _length(segments)),
        count=(columns >= 0).sum(axis=1),
        origin=before.origin,
    )


def end_backward(saved: MemorySaved, d_end: MemoryState | None) -> Ended:
    """Gradient of `end_state` with respect to the joined checkpoints and contexts."""
    segments, before = saved.scene.segments, saved.before
    width = segments.cached + segments.count
    shape = (segments.rows, width, *before.checkpoints.shape[2:])
    checkpoints = np.zeros(shape, before.checkpoints.dtype)
    contexts = np.zeros((*shape[:3], before.contexts.shape[-1]), before.contexts.dtype)
    if d_end is None:
        return Ended(checkpoints, contexts)
    columns = _kept(saved)
    checkpoints = keep_backward(d_end.checkpoints, columns, checkpoints)
    rows = np.arange(segments.rows)
    checkpoints[rows, segments.cached + segments.final] += d_end.online
    contexts = keep_backward(d_end.contexts, columns, contexts)
    contexts[rows, segments.cached + segments.final] += _open_keys(saved) * d_end.keys
    return Ended(checkpoints, contexts)


def state_gradient(
    saved: MemorySaved, gradient: SceneGradient, d_online: Array | None, ended: Ended
) -> MemoryState:
    """The gradient with respect to the state that came in, in the shape of that state."""
    before, cached = saved.before, saved.scene.segments.cached
    d_contexts, d_keys = ended.contexts[:, :cached], np.zeros_like(before.keys)
    if gradient.pool is not None:
        d_contexts, d_keys = d_contexts + gradient.pool.contexts, gradient.pool.keys
    return MemoryState(
        online=np.zeros_like(before.online) if d_online is None else d_online,
        checkpoints=ended.checkpoints[:, :cached],
        contexts=d_contexts,
        keys=d_keys,
        position=before.position,
        length=before.length,
        count=before.count,
        origin=before.origin,
    )


def _at_border(saved: MemorySaved) -> Array:
    """(B,) whether the last token completed its segment."""
    segments = saved.scene.segments
    return np.asarray(segments.closed > segments.final)


def _length(segments: Segments) -> Array:
    """(B,) tokens of each row's last segment so far."""
    rows = np.arange(segments.rows)
    begun = segments.bounds[rows, segments.final]
    length: Array = segments.tokens - begun + np.where(segments.final == 0, segments.offset, 0)
    return length


def _open_keys(saved: MemorySaved) -> Array:
    """(B, 1, 1) what the context of the open segment is multiplied by to give its key sum."""
    length = np.where(_at_border(saved), 0, _length(saved.scene.segments))
    return length.astype(saved.before.keys.dtype)[:, None, None]


def _kept(saved: MemorySaved) -> Array:
    if not saved.scene.readout.reads_cache:
        return np.zeros((saved.scene.segments.rows, 0), np.int64)
    return kept(saved.scene.segments, saved.before.count)
