"""`embedding`: rows by index; backward adds up the rows of each token in a fixed order.

Which rows those are is decided on the host, where the tokens come from. A frequent token's rows are
added up in groups of GROUP at the same time, then the groups.
"""

from typing import NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.strides import real_of, variant
from mcore.layers.embedding import check_range
from mcore.layers.linear import rows

GROUP = 64
THREADS = 128

Saved = tuple[Array, tuple[int, ...]]


class Plan(NamedTuple):
    """int32 arrays, on the device.

    Attributes:
        order: (N,) rows, those of one token side by side.
        groups: (G + 1,) bounds in `order`.
        tokens: (M + 1,) bounds of each token's groups.
        present: (M,) the distinct tokens, ascending.
    """

    order: Array
    groups: Array
    tokens: Array
    present: Array


def embedding(tokens: Array, weight: Array, *, device: Device) -> tuple[Array, Saved]:
    """See `mcore.layers.embedding.embedding`."""
    check_range("embedding: token", tokens, weight.shape[0])
    index = device.upload(tokens.astype(np.int32))
    return device.xp.take(weight, index, axis=0), (tokens, weight.shape)


def embedding_backward(saved: Saved, dy: Array, *, device: Device) -> Array:
    """See `mcore.layers.embedding.embedding_backward`."""
    xp, (tokens, (vocab, width)) = device.xp, saved
    real, dy = real_of(dy), xp.ascontiguousarray(rows(dy))
    d_weight: Array = xp.zeros((vocab, width), real)
    plan = planned(device, tokens)
    groups, present = len(plan.groups) - 1, len(plan.present)
    partial = xp.empty((groups, width), real)
    across = -(-width // THREADS)
    add = device.kernel(variant("sums", dy), "sum_tokens")
    add((groups, across), (THREADS,), (dy, plan.order, plan.groups, None, partial, width), 0)
    add = device.kernel(variant("sums", partial), "sum_rows")
    given = (partial, None, plan.tokens, plan.present, d_weight, width)
    add((present, across), (THREADS,), given, 0)
    return d_weight


def planned(device: Device, tokens: Array) -> Plan:
    """What is added to what; one copy to the device."""
    flat = tokens.reshape(-1)
    order, counts = np.argsort(flat, kind="stable"), np.bincount(flat)
    present = np.flatnonzero(counts)
    counts = counts[present]
    groups = -(-counts // GROUP)
    token = np.repeat(np.arange(len(present)), groups)
    nth = np.arange(len(token)) - (np.cumsum(groups) - groups)[token]
    begins = (np.cumsum(counts) - counts)[token] + GROUP * nth
    bounds = np.append(begins, len(flat)), np.append(0, np.cumsum(groups))
    parts = [order, *bounds, present]
    there = device.upload(np.concatenate(parts).astype(np.int32))
    ends = np.cumsum([len(part) for part in parts]).tolist()
    return Plan(*(there[end - len(part) : end] for part, end in zip(parts, ends, strict=True)))
