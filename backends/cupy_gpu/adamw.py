"""Norm and update of all parameters at once: a launch for each pair of dtypes.

Kernels find tensors by tables of addresses. A table is copied to the device when it is not there
already: gradients that lie where those of the step before lay need no copy.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.strides import real_of, variant
from mcore.layers.engine import Rates, Tensors
from mcore.placing import like

CHUNK, THREADS = 16384, 256
SCRATCH = 128
"""Bytes of shared memory for the sums of a block's warps."""


class Layout(NamedTuple):
    """Sizes of some tensors, and their chunks: (tensor, nth chunk of it) for each block."""

    sizes: Array
    chunks: Array
    blocks: int


class FusedAdamW:
    """See `mcore.layers.engine.Engine`."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def clip(
        self, grads: Sequence[Array], loss: Array | float, limit: float
    ) -> tuple[Array, Array]:
        """See `Engine.clip`."""
        xp, groups = self.device.xp, _grouped([g.dtype.name for g in grads])
        chosen = [[_dense(self.device, grads[i]) for i in members] for members in groups]
        layouts = [self._layout([g.size for g in group]) for group in chosen]
        total = sum(layout.blocks for layout in layouts)
        parts, found, first = xp.empty(total, "float64"), xp.empty(2, "float64"), 0
        for group, layout in zip(chosen, layouts, strict=True):
            kernel = self.device.kernel(variant("adamw", group[0]), "square_sums")
            given = (self._addresses(group), layout.chunks, layout.sizes, parts, first)
            kernel((layout.blocks,), (THREADS,), given, SCRATCH)
            first += layout.blocks
        value = xp.full((), loss, "float64") if isinstance(loss, float | int) else loss
        kernel = self.device.kernel(variant("adamw", chosen[0][0]), "clip")
        kernel((1,), (THREADS,), (parts, total, value, found, float(limit)), SCRATCH)
        return found[0], found

    def update(self, tensors: Tensors, grads: Sequence[Array], rates: Rates, scale: Array) -> None:
        """See `Engine.update`; `scale` is the second result of `clip`."""
        kinds = [(p.dtype.name, g.dtype.name) for p, g in zip(tensors.params, grads, strict=True)]
        for members in _grouped(kinds):
            gradients = [_dense(self.device, grads[i]) for i in members]
            each = [[arrays[i] for i in members] for arrays in tensors[:3]]
            layout, real = self._layout([g.size for g in gradients]), real_of(gradients[0])
            decay = self._table(tuple(tensors.decay[i] for i in members), np.dtype(real))
            tables = [self._addresses(x) for x in ([y for held in each for y in held], gradients)]
            kernel = self.device.kernel(variant("adamw", gradients[0]), "adamw")
            given = (*tables, layout.chunks, layout.sizes, decay, scale, len(members))
            kernel((layout.blocks,), (THREADS,), (*given, *_numbers(rates)), 0)

    def _layout(self, sizes: Sequence[int]) -> Layout:
        """Tables for tensors of these sizes."""
        chunks = [(i, n) for i, size in enumerate(sizes) for n in range(-(-size // CHUNK))]
        flat = tuple(number for chunk in chunks for number in chunk)
        tables = self._table(tuple(sizes), np.dtype(np.int64)), self._table(flat, np.dtype("i4"))
        return Layout(*tables, len(chunks))

    def _addresses(self, arrays: Sequence[Array]) -> Array:
        return self._table(tuple(int(self.device.address(x)) for x in arrays), np.dtype("u8"))

    def _table(self, numbers: Sequence[float], dtype: "np.dtype[np.generic]") -> Array:
        """Numbers on the device, copied there unless they are there."""
        return like(self._there, np.array(numbers, dtype))

    @cached_property
    def _there(self) -> Array:
        """An array on the device."""
        there: Array = self.device.xp.zeros((), "float32")
        return there


def _numbers(rates: Rates) -> tuple[float, ...]:
    """What the kernel takes of them."""
    (b1, b2), n = rates.betas, rates.updates
    decays = (b1, 1.0 - b1, b2, 1.0 - b2)
    return (rates.rate, *decays, rates.eps, rates.rate / (1.0 - b1**n), (1.0 - b2**n) ** -0.5)


def _grouped(kinds: Sequence[object]) -> list[list[int]]:
    """Places of equal entries, in the order in which these first come."""
    places: dict[object, list[int]] = {}
    for place, kind in enumerate(kinds):
        places.setdefault(kind, []).append(place)
    return [*places.values()]


def _dense(device: Device, x: Array) -> Array:
    """`x` in C order."""
    contiguous: Callable[[Array], Array] = device.xp.ascontiguousarray
    return contiguous(x)
