"""DLPack capsules of memory of the host that say it is a GPU's."""

import ctypes
from typing import Any

import numpy as np

DEVICE = (2, 0)
"""CUDA, the first device."""

HOST = (1, 0)

_AFTER_VERSION = 32
"""Bytes of a versioned capsule before its `DLTensor`: version, context, deleter, flags."""


def exported(x: np.ndarray[Any, Any], version: Any) -> Any:
    """A capsule of `x`."""
    capsule = x.__dlpack__(max_version=version)
    _name(capsule, DEVICE)
    return capsule


def imported(x: Any) -> Any:
    """The NumPy array of what speaks DLPack, in the same memory."""
    return np.from_dlpack(_Named(x))


class _Named:
    """Another array's capsules, told as the host's."""

    def __init__(self, x: Any) -> None:
        self._x = x

    def __dlpack__(self, *, max_version: Any = None, **_: Any) -> Any:
        capsule = self._x.__dlpack__(max_version=max_version)
        _name(capsule, HOST)
        return capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return HOST


def _name(capsule: Any, device: tuple[int, int]) -> None:
    """Write the device into the description that travels with the data."""
    name = b"dltensor_versioned" if _is_valid(capsule, b"dltensor_versioned") else b"dltensor"
    start = _pointer(capsule, name) + (_AFTER_VERSION if b"_" in name else 0)
    place = (ctypes.c_int32 * 2).from_address(start + ctypes.sizeof(ctypes.c_void_p))
    place[:] = list(device)


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)
