"""Backward of mirror descent: a segment is replayed once, then gone through from its end.

The replay keeps vectors of each token and A before each block of tokens; inside a block A is
remade from those vectors. Storage is P times the root of a segment's tokens, not times tokens.
"""

from typing import Any

from mcore.backends.numba_cpu.blocks import add, clear, copy
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.elementwise import exp
from mcore.backends.numba_cpu.gelu_vector import gelu_curvature
from mcore.backends.numba_cpu.mirror_image import make_image
from mcore.backends.numba_cpu.mirror_image_backward import image_backward
from mcore.backends.numba_cpu.mirror_kernels import begin_segment, find_force, move, write_token
from mcore.backends.numba_cpu.mirror_state import load_state, segment_state
from mcore.backends.numba_cpu.mirror_token_backward import (
    descent_backward,
    move_backward,
    read_backward,
)
from mcore.backends.numba_cpu.vector_gates import fill


@kernel
def mirror_backward_kernel(span: Any, x: Any, work: Any, given: Any, out: Any) -> None:
    """Gradients for the tasks (row, head) in `span`.

    given: d_reads; d_hidden, d_checkpoints or no elements; checkpoints. out: those of the first
    seven `MirrorInputs`, d_start (B, H, 4 K, E), zeros at first, and d_carry.
    """
    heads = x.q.shape[2]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        clear(work.d_state)
        for s in range(x.restart.shape[1] - 1, -1, -1):
            if x.bounds[b, s] < x.bounds[b, s + 1]:
                if given[2].size:
                    add(given[2][b, s, h], work.d_state)
                _segment_backward(x, (b, h, s), given, work, out)
                if x.restart[b, s]:
                    add(work.d_state, out[7][b, h])
                    clear(work.d_state)
        if x.carry.size:
            copy(work.d_state, out[8][b, h])


@device
def _segment_backward(x: Any, place: Any, given: Any, work: Any, out: Any) -> None:
    """The blocks of a segment, from the last; `work.d_state` goes from its end to its start."""
    b, h, s = place
    first, last = x.bounds[b, s], x.bounds[b, s + 1]
    rows, keys = work.states.shape[0] - 1, x.q.shape[3]
    state = segment_state(x, given[3], place)
    _replay(x, (b, h, first, last), state, work)
    for m in range(2):
        copy(work.d_state[m * keys : (m + 1) * keys], work.d_weights[m])
        copy(work.d_state[(m + 2) * keys : (m + 3) * keys], work.d_source[m])
    for block in range((last - first - 1) // rows, -1, -1):
        begin = first + block * rows
        span = begin, min(begin + rows, last)
        copy_matrices(work.starts[block], work.states[0])
        _block_backward(x, (b, h, first), (span, state, work), given, out)
    for m in range(2):
        copy(work.d_weights[m], work.d_state[m * keys : (m + 1) * keys])
        copy(work.d_source[m], work.d_state[(m + 2) * keys : (m + 3) * keys])


@device
def _replay(x: Any, segment: Any, state: Any, work: Any) -> None:
    """All tokens of a segment, once more."""
    b, h, first, last = segment
    rows = work.states.shape[0] - 1
    begin_segment(state, work)
    for t in range(first, last):
        slot = t - first
        if slot % rows == 0:
            copy_matrices(work.source, work.starts[slot // rows])
        fill(work.image.largest, work.kept.largest[slot])
        write_token(x, (b, t, h), slot, work)


@device
def copy_matrices(source: Any, target: Any) -> None:
    """`target = source`; (2, K, E)."""
    copy(source[0], target[0])
    copy(source[1], target[1])


@device
def _block_backward(x: Any, place: Any, inner: Any, given: Any, out: Any) -> None:
    """The tokens begin <= t < end of a block, from the last; place: (b, h, first)."""
    b, h, first = place
    (begin, end), state, work = inner
    for t in range(begin, end):
        after = work.states[t - begin + 1]
        copy_matrices(work.states[t - begin], after)
        _recall(x, (b, t, h), t - first, work)
        move(x.k[b, t, h], (exp(x.log_decay[b, t, h]), x.step[b, t, h]), work.vectors, after)
    for t in range(end - 1, begin - 1, -1):
        at, before, after = (b, t, h), work.states[t - begin], work.states[t - begin + 1]
        read_backward(x, at, work, given, out)
        d = work.d_weights, work.d_source, work.scratch
        image_backward(x.quartic, after, work.image, d)
        _recall(x, at, t - first, work)
        move_backward(x, at, before, work, out)
        if t > first:
            fill(work.kept.largest[t - first], work.image.largest)
            make_image(x.quartic, before, work.image)
        else:
            load_state(state, work.source, work.image)
        descent_backward(x, at, work.kept.pulled[t - first], work, out)


@device
def _recall(x: Any, at: Any, slot: int, work: Any) -> None:
    """The vectors of the token at (b, t, h), from what `slot` keeps of it."""
    kept, vectors = work.kept, work.vectors
    gelu_curvature(kept.before[slot], vectors.hidden, vectors.slope, vectors.curvature)
    find_force(x, at, kept.answer[slot], vectors)
    for e in range(vectors.turn.shape[0]):
        vectors.turn[e] = kept.pulled[slot, e] * vectors.slope[e]
