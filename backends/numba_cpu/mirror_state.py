"""States of mirror descent: (4 K, E), W over A, each w_in over the transpose of w_out.

A is worked on as (2, K, E), W as an `Image`.
"""

from typing import Any

from mcore.backends.numba_cpu.caching import device


@device
def segment_state(x: Any, checkpoints: Any, place: Any) -> Any:
    """The state (4 K, E) with which segment `place` = (b, h, s) starts."""
    b, h, s = place
    if x.restart[b, s]:
        return x.start[h]
    if s > 0:
        return checkpoints[b, s - 1, h]
    return x.carry[b, h]


@device
def load_state(state: Any, source: Any, image: Any) -> None:
    """A and W of a state."""
    keys = source.shape[1]
    for m in range(2):
        for i in range(keys):
            for e in range(state.shape[1]):
                image.weights[m, i, e] = state[m * keys + i, e]
                source[m, i, e] = state[(m + 2) * keys + i, e]
    image.scale_in[:] = 1
    image.scale_out[:] = 1


@device
def store_state(source: Any, image: Any, state: Any) -> None:
    """The state that holds A and its image."""
    keys = source.shape[1]
    for i in range(keys):
        for e in range(state.shape[1]):
            state[i, e] = image.weights[0, i, e] * image.scale_in[e]
            state[keys + i, e] = image.weights[1, i, e] * image.scale_out[i]
            state[2 * keys + i, e] = source[0, i, e]
            state[3 * keys + i, e] = source[1, i, e]
