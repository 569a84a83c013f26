"""What mirror-descent kernels work on: inputs, and the work arrays of one thread."""

import math
from typing import Any, NamedTuple

import numpy as np


class MirrorInputs(NamedTuple):
    """Arrays of a scan.

    Attributes:
        q, k, v: (B, T, H, K).
        step, log_decay: (B, T, H).
        gate: (B, T, H) what W is multiplied by where it is read, or no elements: 1.
        extra: (B, T, H, E) added to what a query excites, or no elements: 0.
        start: (H, 4 K, E) the state of a fresh segment.
        carry: (B, H, 4 K, E), or no elements if every row restarts.
        bounds: (B, S+1) int64.
        restart: (B, S) bool.
        quartic: whether the image is Moneta's; else it is Memora's.
    """

    q: Any
    k: Any
    v: Any
    step: Any
    log_decay: Any
    gate: Any
    extra: Any
    start: Any
    carry: Any
    bounds: Any
    restart: Any
    quartic: Any


class Image(NamedTuple):
    """W in factors: `weights_0 . scale_in` by column, `weights_1 . scale_out` by row.

    Attributes:
        weights: (2, K, E).
        scale_in: (E,).
        scale_out: (K,).
        largest: (2,) of Moneta: not less than any entry of A.
        norms: (2,) of Moneta: the squared 4-norm of A over that number.
    """

    weights: Any
    scale_in: Any
    scale_out: Any
    largest: Any
    norms: Any


class Kept(NamedTuple):
    """Of each token, what its descent is made of.

    Attributes:
        before: (n, E) what the key excites.
        pulled: (n, E) the force pulled back to the hidden units.
        answer: (n, K) M(k) - k.
        largest: (n + 1, 2) of the image before the token.
    """

    before: Any
    pulled: Any
    answer: Any
    largest: Any


class Vectors(NamedTuple):
    """Of the token at hand.

    Attributes:
        hidden, slope, curvature: (E,) GELU of what the key or the query excites.
        turn: (E,) the force before the activation.
        error, force: (K,) M(k) - v, and the inner loss's slope in it.
        scaled: (K,) scratch.
    """

    hidden: Any
    slope: Any
    curvature: Any
    turn: Any
    error: Any
    force: Any
    scaled: Any


class MirrorWork(NamedTuple):
    """Work arrays of one thread: A (2, K, E), its image, and vectors of one token."""

    source: Any
    image: Any
    kept: Any
    vectors: Any


class MirrorBackwardWork(NamedTuple):
    """Work arrays of one thread, as in `MirrorWork`, and:

    Attributes:
        starts: (blocks, 2, K, E) A before each block of tokens of a segment.
        states: (n + 1, 2, K, E) A inside a block.
        d_source, d_weights: (2, K, E) gradients of A and W.
        d_state: (4 K, E) both, where segments meet.
        d_hidden, d_before, d_pulled, scratch: (E,).
        d_answer, d_left: (K,).
    """

    source: Any
    image: Any
    kept: Any
    vectors: Any
    starts: Any
    states: Any
    d_source: Any
    d_weights: Any
    d_state: Any
    d_hidden: Any
    d_before: Any
    d_pulled: Any
    scratch: Any
    d_answer: Any
    d_left: Any


def forward_work(x: MirrorInputs) -> MirrorWork:
    """Work arrays of one thread for `mirror_kernel`."""
    return _work(x, 1)


def backward_work(x: MirrorInputs) -> MirrorBackwardWork:
    """Work arrays of one thread for `mirror_backward_kernel`; blocks are as long as many."""
    longest = int(np.diff(x.bounds, axis=1).max())
    rows = math.isqrt(max(longest - 1, 0)) + 1
    work = _work(x, longest)
    matrices, (keys, width) = work.source.shape, work.source.shape[1:]
    shapes = [(-(-longest // rows), *matrices), (rows + 1, *matrices), matrices, matrices]
    shapes += [(4 * keys, width), *[(width,)] * 4, (keys,), (keys,)]
    return MirrorBackwardWork(*work, *(np.empty(shape, x.q.dtype) for shape in shapes))


def _work(x: MirrorInputs, tokens: int) -> MirrorWork:
    keys, width, dtype = x.q.shape[3], x.start.shape[2], x.q.dtype

    def empty(*shape: int) -> Any:
        return np.empty(shape, dtype)

    matrices = (2, keys, width)
    image = Image(empty(*matrices), empty(width), empty(keys), empty(2), empty(2))
    kept = Kept(
        empty(tokens, width), empty(tokens, width), empty(tokens, keys), empty(tokens + 1, 2)
    )
    vectors = Vectors(*(empty(width) for _ in range(4)), *(empty(keys) for _ in range(3)))
    return MirrorWork(empty(*matrices), image, kept, vectors)
