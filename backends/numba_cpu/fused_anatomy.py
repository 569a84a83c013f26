"""What of a checkpoint is read, rule by rule: a matrix, and what its answers are divided by."""

from collections.abc import Callable
from typing import NamedTuple

from mcore.arrays import Array
from mcore.backends.numba_cpu.scan import flattened, unflattened
from mcore.recurrence import mlstm, swla


class Body(NamedTuple):
    """The parts of checkpoints that are read, or their gradients.

    Attributes:
        matrix: (B, C, H, K, V).
        normalizer: (B, C, H, K), if answers are divided by n . q.
        floor: (B, C, H) least size of that, if it has one.
    """

    matrix: Array
    normalizer: Array | None = None
    floor: Array | None = None


class Anatomy(NamedTuple):
    """A rule's checkpoints and their bodies.

    Attributes:
        split: checkpoints (B, C, H, P) and K to their body.
        join: checkpoints and the gradient of their body to that of the checkpoints.
        divided: whether answers are divided.
    """

    split: Callable[[Array, int], Body]
    join: Callable[[Array, Body], Array]
    divided: bool = False


def _plain(flat: Array, keys: int) -> Body:
    return Body(unflattened(flat, keys))


def _plain_join(_: Array, body: Body) -> Array:
    return flattened(body.matrix)


def _normalized(flat: Array, keys: int) -> Body:
    state = unflattened(flat, keys)
    return Body(state[..., :-1], state[..., -1])


def _normalized_join(flat: Array, body: Body) -> Array:
    state = unflattened(flat, body.matrix.shape[-2]) * 0
    state[..., :-1], state[..., -1] = body.matrix, body.normalizer
    return flattened(state)


def _mlstm(flat: Array, keys: int) -> Body:
    whole, m = mlstm.parts(unflattened(flat, keys + 1))
    return Body(whole[..., :-1], whole[..., -1], mlstm.floor(m)[..., 0])


def _mlstm_join(flat: Array, body: Body) -> Array:
    state = unflattened(flat, body.matrix.shape[-2] + 1)
    whole, m = mlstm.parts(state)
    d_whole = whole * 0
    d_whole[..., :-1], d_whole[..., -1] = body.matrix, body.normalizer
    floors = mlstm.floor(m)[..., 0]
    return flattened(mlstm.joined(d_whole, -floors * body.floor))


def _swla(flat: Array, keys: int) -> Body:
    return Body(swla.parts(unflattened(flat, keys + 1))[0])


def _swla_join(flat: Array, body: Body) -> Array:
    zero = flat.dtype.type(0)
    return flattened(swla.joined(body.matrix, zero, zero))


PLAIN = Anatomy(_plain, _plain_join)
"""Of memories that are one matrix, which is read as it is."""

NORMALIZED = Anatomy(_normalized, _normalized_join, divided=True)
"""Of a linear memory whose reads are divided: the normaliser is its last column."""

ANATOMIES = {
    "gla": PLAIN,
    "rwkv7": PLAIN,
    "swla": Anatomy(_swla, _swla_join),
    "mlstm": Anatomy(_mlstm, _mlstm_join, divided=True),
}
"""Of rules with scans of their own whose reads are linear, or linear and divided."""
