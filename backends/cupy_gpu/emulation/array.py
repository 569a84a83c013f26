"""An array that behaves as if it lay on a device: NumPy underneath, and as strict as CuPy.

It mixes with its like and with scalars only; turning it into a NumPy array takes an explicit
`asnumpy`. Reading numbers (`float`, `bool`, a mask's count) waits for a device, so it is counted.
What CuPy 14 does not have is not here: functions, methods, options, `reduce` of a ufunc. Stricter
than CuPy in one thing: an index that lies on the host is refused, where CuPy copies it each time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from mcore.backends.cupy_gpu.emulation import capsule
from mcore.backends.cupy_gpu.emulation.lacking import ATTRIBUTES, FUNCTIONS, OPTIONS, WAITING
from mcore.backends.cupy_gpu.emulation.memory import memory


@dataclass
class Traffic:
    """How often the host and the device waited for one another since the last `reset`.

    Attributes:
        down: copies to the host, single numbers included.
        up: copies to the device.
    """

    down: int = 0
    up: int = 0

    def reset(self) -> None:
        """Count from zero."""
        self.down = self.up = 0


traffic = Traffic()


class DeviceArray(NDArrayOperatorsMixin):
    """See the module. `host` is the memory that stands for the device's."""

    __slots__ = ("__weakref__", "host")

    def __init__(self, host: np.ndarray[Any, Any]) -> None:
        self.host = host
        if memory.limit is not None:
            memory.hold(host)

    def __array__(self, *_: object, **__: object) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed; "
            "`.get()` makes a NumPy array explicitly."
        )

    def __dlpack__(self, **options: Any) -> Any:
        if options.get("dl_device") not in (None, capsule.DEVICE):
            traffic.down += 1
            return self.host.copy().__dlpack__()
        return capsule.exported(self.host, options.get("max_version"))

    def __dlpack_device__(self) -> tuple[int, int]:
        return capsule.DEVICE

    def __array_namespace__(self, *, api_version: object = None) -> ModuleType:
        from mcore.backends.cupy_gpu.emulation import namespace

        return namespace

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or ufunc.__name__ in FUNCTIONS:
            return NotImplemented
        check_options(ufunc.__name__, options)
        into = options.get("out")
        if into is not None:
            options["out"] = tuple(bare(x) for x in into)
        found = wrapped(getattr(ufunc, method)(*map(bare, inputs), **options))
        return found if into is None else into[0]

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return NotImplemented if function.__name__ in FUNCTIONS else called(function, args, options)

    def __getattr__(self, name: str) -> Any:
        if name not in ATTRIBUTES:
            raise AttributeError(f"arrays of CuPy have no attribute {name!r}")
        found = getattr(self.host, name)
        return method(found) if callable(found) else wrapped(found)

    @property
    def flags(self) -> Any:
        return self.host.flags

    @property
    def dtype(self) -> Any:
        return self.host.dtype

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return dict(self.host.__array_interface__, version=3, stream=None)

    def get(self) -> Any:
        """A NumPy copy."""
        traffic.down += 1
        return self.host.copy()

    def item(self) -> Any:
        traffic.down += 1
        return self.host.item()

    def set(self, x: Any) -> None:
        """Overwrite by a NumPy array of the same shape."""
        traffic.up += 1
        self.host[...] = x

    def __getitem__(self, key: Any) -> Any:
        _count(key)
        return wrapped(self.host[bare(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        _count(key)
        self.host[bare(key)] = bare(value)

    def __len__(self) -> int:
        return len(self.host)

    def __iter__(self) -> Iterator[Any]:
        return (wrapped(x) for x in self.host)

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __repr__(self) -> str:
        return f"DeviceArray({self.host!r})"

    def __matmul__(self, other: Any) -> Any:
        return wrapped(self.host @ bare(other))


def bare(x: Any) -> Any:
    """The memory underneath, also inside tuples, lists and dicts.

    Raises:
        TypeError: a host array.
    """
    if isinstance(x, DeviceArray):
        return x.host
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>: it lies on the host")
    if isinstance(x, tuple | list):
        return type(x)(bare(y) for y in x)
    if isinstance(x, dict):
        return {name: bare(y) for name, y in x.items()}
    return x


def wrapped(x: Any) -> Any:
    """What NumPy returned, as if it lay on the device; reductions give arrays, not numbers."""
    if isinstance(x, np.ndarray):
        return DeviceArray(x)
    if isinstance(x, np.generic):
        return DeviceArray(np.asarray(x))
    if isinstance(x, list):
        return [wrapped(y) for y in x]
    if isinstance(x, tuple) and any(isinstance(y, np.ndarray) for y in x):
        return tuple(wrapped(y) for y in x)
    return x


def called(function: Callable[..., Any], args: Any, options: Any) -> Any:
    """A NumPy function on the memory underneath."""
    check_options(function.__name__, options)
    traffic.down += function.__name__ in WAITING
    return wrapped(function(*bare(tuple(args)), **bare(dict(options))))


def check_options(name: str, options: Any) -> None:
    """Raise TypeError for options that CuPy's functions do not have."""
    for option in options:
        if option in OPTIONS:
            raise TypeError(f"{name}() got an unexpected keyword argument {option!r}")


def _count(key: Any) -> None:
    """Lists are sent to the device; how much a mask picks must be known on the host."""
    for part in key if isinstance(key, tuple) else (key,):
        traffic.up += isinstance(part, list)
        traffic.down += isinstance(part, DeviceArray) and part.dtype == bool


def method(bound: Callable[..., Any]) -> Callable[..., Any]:
    """A method of NumPy's array that takes and gives device arrays."""

    def call(*args: Any, **options: Any) -> Any:
        return called(bound, args, options)

    return call
