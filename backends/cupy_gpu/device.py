"""What runs the kernels: a GPU through CuPy, or the CPU in its place, by the same calls."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.sources import Variant

Shape = tuple[int, ...]
"""Of a grid or a block: up to three numbers."""

Kernel = Callable[[Shape, Shape, Sequence[Any], int], None]
"""`kernel(grid, block, arguments, shared bytes)`; arguments are arrays, integers, floats, None."""


class Room(NamedTuple):
    """Bytes of a device's memory.

    Attributes:
        usable: what this process has of it, or may still get.
        total: all that there is.
    """

    usable: int
    total: int


MOST_THREADS, MOST_BLOCKS = 1024, 65535
"""Threads in a block; blocks along the second and third axis of a grid."""


class Device(Protocol):
    """Where arrays lie and kernels run.

    Attributes:
        xp: the array library, called like NumPy.
        name: of the device, for people.
    """

    xp: ModuleType
    name: str

    def kernel(self, variant: Variant, name: str) -> Kernel:
        """A kernel of a source, compiled on first use."""

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """The kernels that `function` launches, as a graph: calling it launches them all at once.

        They are not run here. Arrays that they work on must stay where they are.
        """

    def upload(self, x: Array) -> Array:
        """A copy of a host array on the device."""

    def download(self, x: Array) -> Array:
        """A copy of a device array on the host; waits for the device."""

    def room(self) -> Room:
        """Its memory."""

    def address(self, x: Array) -> np.uint64:
        """Where its first number lies; whoever asks keeps `x` until the kernel is launched."""


def arguments(values: Sequence[Any], real: str) -> list[Any]:
    """Integers as C's int, floats as the kernel's Real, None as a null pointer; arrays as they are.

    A `numpy.uint64` is an address (`Device.address`), for arrays that are not contiguous.

    Raises:
        TypeError: a kernel would read a host array, or one that is not contiguous.
    """
    return [_argument(value, np.dtype(real)) for value in values]


def check_shape(name: str, grid: Shape, block: Shape) -> None:
    """Raise ValueError where CUDA would refuse a launch: nothing to do, or too much of it."""
    threads = 1
    for size in block:
        threads *= size
    if min((*grid, *block)) < 1 or threads > MOST_THREADS or max(grid[1:], default=1) > MOST_BLOCKS:
        raise ValueError(f"{name}: a grid of {grid} blocks of {block} threads cannot be launched")


_READY, _INTEGERS, _NOTHING = (np.int32, np.uint64), (bool, int, np.integer), np.uint64(0)


def _argument(value: Any, real: "np.dtype[Any]") -> Any:
    if value is None:
        return _NOTHING
    if isinstance(value, _READY):
        return value
    if isinstance(value, _INTEGERS):
        return np.int32(value)
    if isinstance(value, float):
        return real.type(value)
    if isinstance(value, np.ndarray):
        raise TypeError("a kernel got an array that lies on the host")
    if not value.flags.c_contiguous:
        raise TypeError(f"a kernel got an array {value.shape} that is not contiguous")
    return value
