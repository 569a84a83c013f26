"""The emulated device: sources built by g++, kernels called through ctypes."""

import ctypes
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Kernel, Room, Shape, arguments, check_shape
from mcore.backends.cupy_gpu.emulation import namespace
from mcore.backends.cupy_gpu.emulation.array import DeviceArray
from mcore.backends.cupy_gpu.emulation.memory import memory
from mcore.backends.cupy_gpu.sources import Variant, kernels, source
from mcore.errors import BackendError
from mcore.machine import memory_bytes

HEADERS = Path(__file__).parent

_PLAIN = ("-O1",)
_SANITIZED = ("-O0", "-g", "-fsanitize=address,undefined", "-fno-omit-frame-pointer")


class EmulatedDevice:
    """Runs kernels on the CPU.

    Attributes:
        seed: draws the order in which the threads of a block take turns; 0 for ascending.
        sanitize: whether kernels are built with the address and undefined-behaviour sanitizers,
            whose libraries must then have been loaded before Python's.
        edit: changes the text of every source before it is built: tests plant mistakes with it.
        products: how kernels multiply float32.
    """

    name = "emulated on the CPU"

    def __init__(
        self,
        seed: int = 0,
        sanitize: bool = False,
        edit: Callable[[str], str] | None = None,
        products: str = "float32",
    ) -> None:
        self.xp: ModuleType = namespace
        self.products = products
        self.seed, self.sanitize, self.edit = seed, sanitize, edit
        self._captured: list[Callable[[], None]] | None = None

    def kernel(self, variant: Variant, name: str) -> Kernel:
        """See `Device.kernel`."""
        variant = variant.multiplied(self.products)
        text = source(variant.family)
        library = built(variant, self.edit(text) if self.edit else text, self.sanitize)
        launch = getattr(library, f"mc_launch_{name}")
        launch.restype = ctypes.c_char_p
        sizes = _argument_sizes(library, name)

        def call(grid: Shape, block: Shape, values: Sequence[Any], shared: int = 0) -> None:
            if self._captured is not None:
                self._captured.append(partial(call, grid, block, values, shared))
                return
            held = [_plain(x) for x in arguments(values, variant.real)]
            if [x.nbytes for x in held] != sizes:
                found = [x.nbytes for x in held]
                raise TypeError(f"{name}: arguments of {found} bytes, the kernel takes {sizes}")
            check_shape(name, grid, block)
            shape = (ctypes.c_uint * 6)(*_three(grid), *_three(block))
            pointers = (ctypes.c_void_p * len(held))(*(x.ctypes.data for x in held))
            error = launch(shape, ctypes.c_size_t(shared), pointers, ctypes.c_uint(self.seed))
            if error:
                raise RuntimeError(f"{name}: {error.decode()}")

        return call

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """See `Device.capture`."""
        self._captured = []
        try:
            function()
        finally:
            launches, self._captured = self._captured, None

        def replay() -> None:
            for launch in launches:
                launch()

        return replay

    def upload(self, x: Array) -> Any:
        """See `Device.upload`."""
        return namespace.asarray(x)

    def download(self, x: Any) -> Any:
        """See `Device.download`."""
        return namespace.asnumpy(x)

    def room(self) -> Room:
        """See `Device.room`."""
        size = memory_bytes() or 0 if memory.limit is None else memory.limit
        return Room(size, size)

    def address(self, x: Any) -> np.uint64:
        """See `Device.address`."""
        return np.uint64(x.host.ctypes.data)


@cache
def built(variant: Variant, text: str, sanitize: bool) -> ctypes.PyDLL:
    """The library of a source `text`; built once for it and its options, by any process."""
    text = _program(variant.family, text)
    flags = (*(_SANITIZED if sanitize else _PLAIN), *variant.options)
    headers = "".join(path.read_text() for path in sorted(HEADERS.glob("*.h")))
    key = hashlib.sha256("\n".join((text, headers, *flags)).encode()).hexdigest()[:24]
    library = _folder() / f"{variant.family}-{key}.so"
    if not library.exists():
        _build(text, flags, library)
    return ctypes.PyDLL(str(library))


def _build(text: str, flags: Sequence[str], library: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        raise BackendError("the emulated GPU is built by g++, which is not on the PATH")
    library.parent.mkdir(parents=True, exist_ok=True)
    partial = library.with_suffix(f".{os.getpid()}.tmp")
    fixed = ("-std=c++17", "-fPIC", "-shared", "-fvisibility=hidden", "-Wno-unknown-pragmas")
    command = [compiler, "-x", "c++", *fixed, *flags, f"-I{HEADERS}", "-o", str(partial), "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BackendError(f"{library.stem}: does not compile:\n{done.stderr[:4000]}")
    partial.replace(library)


def _program(family: str, text: str) -> str:
    exports = "\n".join(f"MC_EXPORT({name})" for name in kernels(family))
    return f'#include "cuda_emulation.h"\n{text}\n{exports}\n'


def _folder() -> Path:
    base = os.environ.get("MCORE_CACHE_DIR")
    return (Path(base) if base else Path.home() / ".cache" / "mcore") / "emulated"


def _argument_sizes(library: ctypes.PyDLL, name: str) -> list[int]:
    count = getattr(library, f"mc_arguments_{name}")
    sizes = (ctypes.c_int * 64)()
    return list(sizes[: count(sizes)])


def _plain(x: Any) -> Any:
    """What lies where the launch looks: a pointer for an array, the number itself for a scalar."""
    pointer = x.host.ctypes.data if isinstance(x, DeviceArray) else None
    return np.array(x if pointer is None else pointer, None if pointer is None else np.uint64)


def _three(shape: Shape) -> tuple[int, int, int]:
    x, y, z = (*shape, 1, 1, 1)[:3]
    return x, y, z
