"""Arrays of other libraries, taken over by DLPack: the same memory, no copy.

bfloat16 is not among NumPy's own types, so `numpy.from_dlpack` refuses it. It is handed over as
uint16 and seen as `ml_dtypes.bfloat16`: the type is a field of the description that travels with
the data (`DLTensor` in dlpack.h, whose layout is fixed for good).
"""

import ctypes
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcore.errors import InputError

MANAGED = 13
HOSTS = {1, 3, 11, MANAGED}
"""Device types whose memory the CPU reads: its own, pinned, and managed."""

DEVICES = {2: "CUDA", 7: "Vulkan", 8: "Metal", 10: "ROCm", 14: "oneAPI"}

_UNSIGNED, _BFLOAT = 1, 4
"""Codes of kinds of numbers."""


def taken_over(name: str, x: Any, xp: ModuleType) -> Any:
    """`x`, which speaks DLPack, as an array of library `xp`, or of NumPy, in the same memory.

    What the CPU reads becomes an array of NumPy, whatever `xp` is: devices cannot read it as it is.

    Raises:
        InputError: it is on a device that `xp` cannot read, its gradients are being recorded, it is
            being traced, or its type is none of NumPy's; the message says what would do.
    """
    try:
        kind, number = x.__dlpack_device__()
        if xp is np and kind not in HOSTS:
            raise InputError(
                f"{name}: is on device {DEVICES.get(int(kind), f'type {int(kind)}')}:{number}, and "
                f"the CPU is to read it; a copy there would do: {name}.cpu() of "
                f"PyTorch, jax.device_get({name}), cupy.asnumpy({name})"
            )
        return _of_numpy(x) if _for_cpu(kind, xp) else xp.from_dlpack(x)
    except InputError:
        raise
    # Libraries refuse in ways of their own: BufferError, RuntimeError, ValueError, TypeError.
    except Exception as error:
        raise InputError(f"{name}: {_refused(x, error)}") from None


def writable(x: NDArray[Any]) -> NDArray[Any]:
    """The same memory, marked as one that may be written.

    Nobody here writes to an input, and kernels are compiled for arrays that may be written: for
    others they would take a copy.
    """
    plain = x.dtype.kind in "biuf"
    return np.asarray(_Writable(x)) if plain and not x.flags.writeable else x


def _for_cpu(kind: int, xp: ModuleType) -> bool:
    return kind in HOSTS and (xp is np or kind != MANAGED)


def _refused(x: Any, error: Exception) -> str:
    library = type(x).__module__.partition(".")[0]
    if getattr(x, "requires_grad", False):
        return (
            "requires a gradient, and none flows through here; x.detach(), or TorchMemory of "
            "mcore.interop.torch, would do"
        )
    if library == "jax" and type(x).__name__.endswith("Tracer"):
        return "is being traced by JAX and holds no numbers yet; mcore.interop.jax would do"
    reason = str(error).partition("\n")[0] or type(error).__name__
    return f"cannot be taken over from {library}: {reason}"


def _of_numpy(x: Any) -> Any:
    try:
        return writable(np.from_dlpack(x))
    except (BufferError, RuntimeError):
        found = _bfloat16(x)
        if found is None:
            raise
        return found


def _bfloat16(x: Any) -> Any:
    """The array if its numbers are bfloat16, else None."""
    import ml_dtypes

    capsule = x.__dlpack__()
    tensor = _Tensor.from_address(_pointer(capsule, b"dltensor"))
    if (tensor.code, tensor.bits, tensor.lanes) != (_BFLOAT, 16, 1):
        return None
    tensor.code = _UNSIGNED
    codes = np.from_dlpack(_Exported(capsule, x.__dlpack_device__()))
    return codes.view(ml_dtypes.bfloat16)


class _Tensor(ctypes.Structure):
    """The head of a `DLTensor`."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
    )


class _Writable:
    """A read-only array, described as one that is not."""

    def __init__(self, x: NDArray[Any]) -> None:
        self._held = x
        self.__array_interface__ = x.__array_interface__ | {"data": (x.ctypes.data, False)}


class _Exported:
    """What was exported already, to be imported."""

    def __init__(self, capsule: Any, device: tuple[int, int]) -> None:
        self._capsule, self._device = capsule, device

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
        copy: bool | None = None,
    ) -> Any:  # fmt: skip
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
