"""Rules with kernels of their own: for each, its `scan` and `read` pairs."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.numba_cpu import channel as _channel
from mcore.backends.numba_cpu import deep_read as _deep_read
from mcore.backends.numba_cpu import mlstm as _mlstm
from mcore.backends.numba_cpu import mlstm_read as _mlstm_read
from mcore.backends.numba_cpu import read as _read
from mcore.backends.numba_cpu import rwkv7 as _rwkv7
from mcore.backends.numba_cpu import swla as _swla
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Segments

Operation = Callable[..., Any]


class Family(NamedTuple):
    """Two pairs; arguments as in `mcore.backend.Backend`, less the rule, plus the threads."""

    scan: Operation
    scan_backward: Operation
    read: Operation
    read_backward: Operation


class Kept(NamedTuple):
    """What an operation keeps, and the backward that opens it."""

    backward: Operation
    saved: Any


FAMILIES: dict[str, Family] = {
    "gla": Family(_channel.scan, _channel.scan_backward, _read.linear_read, _read.read_backward),
    "mlstm": Family(_mlstm.scan, _mlstm.scan_backward, _mlstm_read.read, _mlstm_read.read_backward),
    "rwkv7": Family(_rwkv7.scan, _rwkv7.scan_backward, _read.linear_read, _read.read_backward),
    "swla": Family(_swla.scan, _swla.scan_backward, _swla.read, _swla.read_backward),
}


PERCEPTRONS = frozenset({"dla", "titans", "yaad", "moneta", "memora"})
"""Rules whose memories are read as perceptrons, whatever else their states hold."""


def scan(
    rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments, threads: int
) -> tuple[Scan, Kept]:
    """See `mcore.backend.Backend.scan`."""
    family = FAMILIES[rule.kind]
    found, saved = family.scan(inputs, carry, segments, threads)
    return found, Kept(family.scan_backward, saved)


def scan_backward(
    kept: Kept, d_reads: Array, d_checkpoints: Array, threads: int
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    gradients: tuple[dict[str, Array], Array | None]
    gradients = kept.backward(kept.saved, d_reads, d_checkpoints, threads)
    return gradients


def read(
    rule: Recurrence,
    q: Array,
    checkpoints: Array,
    gates: Array | None,
    segments: Segments,
    threads: int,
) -> tuple[Array, Kept]:
    """See `mcore.backend.Backend.read`."""
    if rule.kind in PERCEPTRONS:
        y, saved = _deep_read.read(rule, q, checkpoints, gates, segments, threads)
        return y, Kept(_deep_read.read_backward, saved)
    family = FAMILIES[rule.kind]
    y, saved = family.read(q, checkpoints, gates, segments, threads)
    return y, Kept(family.read_backward, saved)


def read_backward(kept: Kept, dy: Array, threads: int) -> tuple[Array, Array, Array | None]:
    """See `mcore.backend.Backend.read_backward`."""
    gradients: tuple[Array, Array, Array | None] = kept.backward(kept.saved, dy, threads)
    return gradients
