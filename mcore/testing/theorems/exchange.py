"""Arrays for someone else's kernel: its library, its layout, and back to NumPy (B, T, H, .)."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.errors import InputError

LAYOUTS = ("BTHD", "BHTD")
LIBRARIES = {"numpy": "numpy", "jax": "jax.numpy", "torch": "torch", "cupy": "cupy"}
DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Exchange:
    """How arrays are handed over.

    Attributes:
        layout: `BTHD`, or `BHTD` for tokens inside heads; only inputs with B, T and H differ.
        arrays: the library: `numpy`, `jax`, `torch` or `cupy`.
        dtype: `float64` or `float32`.

    Raises:
        InputError: an unknown layout, library or dtype, or a library that is not installed.
    """

    layout: str = "BTHD"
    arrays: str = "numpy"
    dtype: str = "float64"

    def __post_init__(self) -> None:
        for name, allowed in (("layout", LAYOUTS), ("arrays", LIBRARIES), ("dtype", DTYPES)):
            value = getattr(self, name)
            if value not in allowed:
                raise InputError(f"{name}: {value!r} is unknown; {' or '.join(allowed)} would do")
        self.library  # noqa: B018

    @property
    def library(self) -> Any:
        """The module that makes its arrays."""
        try:
            return import_module(LIBRARIES[self.arrays])
        except ImportError:
            raise InputError(
                f"arrays: {self.arrays} is not installed; `pip install {self.arrays}`, or "
                "--arrays numpy"
            ) from None

    def give(self, array: Array, axes: str) -> Any:
        """A fresh copy in the kernel's layout, library and dtype."""
        turned = np.array(self._turn(array, axes.split()), dtype=self.dtype, order="C")
        if self.arrays == "numpy":
            return turned
        if self.arrays == "torch":
            return self.library.from_numpy(turned)
        given = self.library.asarray(turned)
        if str(given.dtype) != self.dtype:
            raise InputError(
                f"dtype: {self.arrays} makes {given.dtype} of {self.dtype}; set JAX_ENABLE_X64=1, "
                "or --dtype float32"
            )
        return given

    def take(self, value: Any, axes: str) -> Array:
        """What a kernel returned, as a NumPy array in layout (B, T, H, .), of its own dtype."""
        if hasattr(value, "detach"):
            value = value.detach().cpu().numpy()
        elif hasattr(value, "get") and type(value).__module__.startswith("cupy"):
            value = value.get()
        array = np.asarray(value)
        letters = axes.split()
        return self._turn(array, letters) if array.ndim == len(letters) else array

    def _turn(self, array: Array, axes: list[str]) -> Array:
        """Tokens and heads exchanged; that undoes itself."""
        if self.layout == "BTHD" or axes[:3] != ["B", "T", "H"]:
            return array
        return np.swapaxes(array, 1, 2)
