"""Which backends and dtypes the tests run, and memories made of them."""

from importlib.metadata import entry_points

import mcore
from mcore.backend import get_backend
from mcore.testing.agreement import Make, Memory
from mcore.testing.strategies import Composition

GPU_BACKENDS = {"cupy"}
BACKENDS = sorted({entry.name for entry in entry_points(group="mcore.backends")} - GPU_BACKENDS)
DTYPES = ("float64", "float32")


def maker(backend: str, dtype: str = "float64", threads: int | None = None) -> Make:
    """Builds memories of one backend, dtype and number of threads."""

    def make(composition: Composition) -> Memory:
        return mcore.memory(**composition, backend=get_backend(backend, threads), dtype=dtype)

    return make
