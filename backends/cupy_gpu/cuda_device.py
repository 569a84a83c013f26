"""A real GPU, through CuPy."""

from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Kernel, Room, Shape, arguments
from mcore.backends.cupy_gpu.half_product import half_product
from mcore.backends.cupy_gpu.sources import NVRTC, Variant, source
from mcore.errors import BackendError
from mcore.layers.product import bring

STATIC_SHARED = 48 << 10
"""Bytes of shared memory that a block may have without asking for more."""


class CudaDevice:
    """One GPU. Work goes to CuPy's current stream, so `with stream:` around a call is honoured.

    Args:
        index: among those visible (`CUDA_VISIBLE_DEVICES`). Becomes the current device of the
            calling thread; None takes that device as it is.
        products: how kernels, and cuBLAS in the whole process, multiply float32.

    Raises:
        BackendError: CuPy, the driver or the device is missing; says what would do.
    """

    def __init__(self, index: int | None = None, products: str = "float32") -> None:
        self.xp: ModuleType = usable_cupy()
        count = self.xp.cuda.runtime.getDeviceCount()
        check_index(index, count)
        if index is not None:
            self.xp.cuda.Device(index).use()
        self.index = self.xp.cuda.Device().id
        self.products = products
        if products == "tf32":
            _let_cublas_round(self.xp)
        bring(self.xp, self._half_product)
        self.name = self.xp.cuda.runtime.getDeviceProperties(self.index)["name"].decode()
        self._kernels: dict[tuple[Variant, str], Any] = {}

    def kernel(self, variant: Variant, name: str) -> Kernel:
        """See `Device.kernel`."""
        variant = variant.multiplied(self.products)
        raw = self._kernels.get((variant, name))
        if raw is None:
            with self.xp.cuda.Device(self.index):
                raw = _module(self.xp, self.index, variant).get_function(name)
            self._kernels[variant, name] = raw

        def call(grid: Shape, block: Shape, values: Sequence[Any], shared: int = 0) -> None:
            if shared > STATIC_SHARED and raw.max_dynamic_shared_size_bytes < shared:
                raw.max_dynamic_shared_size_bytes = shared
            raw(grid, block, tuple(arguments(values, variant.real)), shared_mem=shared)

        return call

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """See `Device.capture`."""
        stream = self.xp.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                function()
            finally:
                graph = stream.end_capture()
        return lambda: graph.launch(self.xp.cuda.get_current_stream())

    def upload(self, x: Array) -> Array:
        """See `Device.upload`."""
        with self.xp.cuda.Device(self.index):
            copied: Array = self.xp.asarray(x)
            return copied

    def download(self, x: Array) -> Array:
        """See `Device.download`."""
        copied: Array = self.xp.asnumpy(x)
        return copied

    def room(self) -> Room:
        """See `Device.room`."""
        with self.xp.cuda.Device(self.index):
            free, total = self.xp.cuda.runtime.memGetInfo()
            return Room(free + self.xp.get_default_memory_pool().total_bytes(), total)

    def address(self, x: Array) -> np.uint64:
        """See `Device.address`."""
        return np.uint64(x.data.ptr)  # type: ignore[attr-defined]

    def _half_product(self, a: Array, b: Array, dtype: str) -> Array:
        """See `half_product`; the library is loaded on first use."""
        from cupy_backends.cuda.libs import cublas

        return half_product(self, cublas, self.xp.cuda.get_cublas_handle(), a, b, dtype)


def check_index(index: int | None, count: int) -> None:
    """Raise BackendError unless there is a GPU with this number among `count`."""
    if index is None or 0 <= index < count:
        return
    there = "0, the only one that is visible," if count == 1 else f"0 to {count - 1}"
    raise BackendError(f"backend cupy: there is no device {index}; {there} would do")


def usable_cupy() -> ModuleType:
    """CuPy, on a machine where it has a GPU to run on.

    Raises:
        BackendError: what exactly is missing, and what would do.
    """
    try:
        import cupy
    except ImportError:
        raise BackendError(
            "backend cupy: CuPy is not installed; pip install 'mcore[cuda13]' (or [cuda12] for a "
            "driver older than 580) would do"
        ) from None
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise BackendError(f"backend cupy: {_without(cupy, error)}") from None
    if count == 0:
        raise BackendError(
            "backend cupy: the driver sees no GPU; check CUDA_VISIBLE_DEVICES and nvidia-smi"
        )
    found: ModuleType = cupy
    return found


def _without(cupy: Any, error: Exception) -> str:
    wanted, found = cupy.cuda.runtime.runtimeGetVersion(), cupy.cuda.runtime.driverGetVersion()
    if not found:
        return (
            "CuPy is installed, but no NVIDIA driver is loaded on this machine; NVIDIA's driver "
            "(nvidia-smi shows it), or backend numba, would do"
        )
    if found // 1000 < wanted // 1000:
        return (
            f"the driver knows CUDA {found // 1000}, this CuPy needs CUDA {wanted // 1000}; "
            "a newer driver, or pip install 'mcore[cuda12]', would do"
        )
    return f"no GPU can be used: {error}"


def _let_cublas_round(cupy: Any) -> None:
    from cupy._core._routines_linalg import COMPUTE_TYPE_TF32

    cupy._core.set_compute_type("float32", COMPUTE_TYPE_TF32)


@cache
def _module(cupy: ModuleType, index: int, variant: Variant) -> Any:
    return cupy.RawModule(code=source(variant.family), options=(*NVRTC, *variant.options))
