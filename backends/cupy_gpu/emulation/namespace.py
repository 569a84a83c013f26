"""NumPy's functions over `DeviceArray`: what `cupy` is to arrays on a GPU."""

from typing import Any

import numpy as np

from mcore.backends.cupy_gpu.emulation import capsule
from mcore.backends.cupy_gpu.emulation.array import DeviceArray, bare, called, traffic
from mcore.backends.cupy_gpu.emulation.lacking import FUNCTIONS

ndarray = DeviceArray


def asarray(x: Any, dtype: Any = None) -> Any:
    """`x` on the device; a host array, list or number is copied there."""
    if isinstance(x, DeviceArray):
        same = dtype is None or x.dtype == dtype
        return x if same else DeviceArray(x.host.astype(dtype))
    traffic.up += 1
    return DeviceArray(np.array(_held(x), dtype=dtype))


def array(x: Any, dtype: Any = None, copy: bool = True) -> Any:
    """A copy of `x` on the device."""
    if isinstance(x, DeviceArray):
        return DeviceArray(np.array(x.host, dtype=dtype))
    return asarray(x, dtype)


def ascontiguousarray(x: Any, dtype: Any = None) -> Any:
    """`x` in C order on the device."""
    if not isinstance(x, DeviceArray):
        return asarray(np.ascontiguousarray(_held(x)), dtype)
    if x.flags.c_contiguous and dtype in (None, x.dtype):
        return x
    return DeviceArray(np.ascontiguousarray(x.host, dtype=dtype))


def asnumpy(x: Any) -> Any:
    """A copy on the host."""
    return x.get() if isinstance(x, DeviceArray) else np.asarray(x)


def from_dlpack(x: Any) -> Any:
    """The memory of another library's array on a device.

    Raises:
        ValueError: it lies on the host.
    """
    if tuple(x.__dlpack_device__()) != capsule.DEVICE:
        raise ValueError("CPU arrays cannot be directly imported to CuPy")
    return DeviceArray(capsule.imported(x))


def _held(x: Any) -> Any:
    return [_held(y) for y in x] if isinstance(x, list | tuple) else bare_or_host(x)


def bare_or_host(x: Any) -> Any:
    """Host arrays pass: this is where they are copied."""
    return x if isinstance(x, np.ndarray) else bare(x)


def __getattr__(name: str) -> Any:
    if name in FUNCTIONS:
        raise AttributeError(f"CuPy has no function {name!r}")
    found = getattr(np, name)
    if not callable(found) or isinstance(found, type):
        return found

    def call(*args: Any, **options: Any) -> Any:
        return called(found, args, options)

    call.__name__ = name
    return call
