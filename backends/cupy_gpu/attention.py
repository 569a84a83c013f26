"""`attention`: blocks of queries and keys whose weights exist nowhere but in registers."""

from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backends.cupy_gpu import attention_wide as wide
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.backends.cupy_gpu.sources import Variant

LARGEST_SHARED = 160 << 10
"""Bytes of shared memory that a block may have on every GPU we compile for."""

WIDEST = 128
"""Numbers of a row whose sums registers can hold."""

SIDE, THREADS = 64, 128
"""Of the blocks: see `attention_blocks.cuh`."""


class AttentionSaved(NamedTuple):
    """What `attention` keeps: its inputs, its output and the log-sum (B, T, H) of each row.

    Attributes:
        reach: how many positions a query sees, with its own.
    """

    q: Array
    k: Array
    v: Array
    reach: int
    y: Array
    log_sums: Array | None


def attention(
    device: Device, q: Array, k: Array, v: Array, window: int | None
) -> tuple[Array, AttentionSaved]:
    """See `mcore.backend.Backend.attention`."""
    xp = device.xp
    q, k, v = (xp.ascontiguousarray(x, q.dtype) for x in (q, k, v))
    reach = k.shape[1] if window is None else min(window, k.shape[1])
    real = "float64" if q.dtype == "float64" else "float32"
    y = xp.empty((*q.shape[:3], v.shape[-1]), q.dtype)
    saved = AttentionSaved(q, k, v, reach, y, xp.empty(q.shape[:3], real))
    if max(_shared(saved)) > LARGEST_SHARED or max(q.shape[-1], v.shape[-1]) > WIDEST:
        y = wide.attention(xp, q, k, v, reach)
        return y, saved._replace(y=y, log_sums=None)
    _run(device, saved, "attention", (y, saved.log_sums))
    return y, saved


def attention_backward(
    device: Device, saved: AttentionSaved, dy: Array
) -> tuple[Array, Array, Array]:
    """See `mcore.backend.Backend.attention_backward`."""
    xp, (q, k, v) = device.xp, saved[:3]
    dy = xp.ascontiguousarray(dy, q.dtype)
    if saved.log_sums is None:
        return wide.attention_backward(xp, (q, k, v), saved.reach, dy)
    dq, dk, dv = xp.empty_like(q), xp.empty_like(k), xp.empty_like(v)
    deltas = xp.empty_like(saved.log_sums)
    _run(device, saved, "attention_queries", (saved.y, saved.log_sums, dy, dq, deltas))
    _run(device, saved, "attention_keys", (saved.log_sums, dy, deltas, dk, dv))
    return dq, dk, dv


def _run(device: Device, saved: AttentionSaved, name: str, arrays: tuple[Any, ...]) -> None:
    q, k, v = saved[:3]
    (rows, tokens, heads, keys), positions, values = q.shape, k.shape[1], v.shape[-1]
    sizes = (("MC_KEYS", _padded(keys)), ("MC_VALUES", _padded(values)))
    real = "float64" if q.dtype == "float64" else "float32"
    kernel = device.kernel(Variant("attention", real, q.dtype.name, sizes), name)
    blocks = -(-(positions if name == "attention_keys" else tokens) // SIDE)
    given = (q, k, v, *arrays, tokens, positions, heads, keys, values, saved.reach)
    shared = _shared(saved)[0 if name == "attention" else 1]
    kernel((blocks, heads, rows), (THREADS,), given, shared)


def _shared(saved: AttentionSaved) -> tuple[int, int]:
    """Bytes of shared memory, forward and backward."""
    size = 8 if saved.q.dtype == "float64" else 4
    keys, values = _padded(saved.q.shape[-1]), _padded(saved.v.shape[-1])
    forward = 256 // size
    backward = 16 if size == 8 and max(keys, values) > 64 else 32
    k, v = keys + 4, values + 4
    return (
        size * (SIDE * k + forward * (k + v)),
        size * ((SIDE + backward) * (k + v) + 2 * SIDE),
    )


def _padded(width: int) -> int:
    return -(-width // 16) * 16


ATTENTION = Pair(attention, attention_backward)
