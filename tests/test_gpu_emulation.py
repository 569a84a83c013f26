"""The emulated GPU: it computes what CUDA would, and finds what a GPU would not tell."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from mcore.backends.cupy_gpu import sources
from mcore.backends.cupy_gpu.device import arguments
from mcore.backends.cupy_gpu.emulation import namespace as xp
from mcore.backends.cupy_gpu.emulation.array import traffic
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.backends.cupy_gpu.sources import Variant

OURS = Path(__file__).parent / "gpu_sources"
SHARED = {"float32": 2 * 32 * 36 * 4, "float64": 2 * 32 * 36 * 8}


@pytest.fixture(autouse=True)
def our_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The headers of the backend beside the source of this test."""
    for path in (*sources.FOLDER.glob("*.cuh"), *OURS.glob("*.cu")):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(sources, "FOLDER", tmp_path)
    sources.source.cache_clear()
    sources.kernels.cache_clear()
    yield
    sources.source.cache_clear()
    sources.kernels.cache_clear()


def matrices(real: str) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(19, 29)).astype(real), rng.normal(size=(29, 31)).astype(real)


def product(device: EmulatedDevice, real: str, sizes: tuple[tuple[str, int], ...] = ()) -> Any:
    a, b = matrices(real)
    c = xp.zeros((19, 31), real)
    kernel = device.kernel(Variant("tile_product", real, real, sizes), "tile_product")
    kernel((1,), (128,), (xp.asarray(a), xp.asarray(b), c, 19, 31, 29), SHARED[real])
    return c.get()


def error(got: NDArray[Any], real: str) -> float:
    a, b = (x.astype(float) for x in matrices(real))
    return float(np.abs(got - a @ b).max() / np.abs(a @ b).max())


@pytest.mark.parametrize(
    ("real", "products", "least", "most"),
    [
        ("float64", 3, 0.0, 1e-15),
        ("float32", 0, 0.0, 5e-7),
        ("float32", 1, 1e-5, 1e-3),  # ten bits of mantissa are rounded away, and it shows
        ("float32", 3, 0.0, 5e-7),  # upper and lower halves make up for it
    ],
)
def test_a_tile_multiplies(real: str, products: int, least: float, most: float) -> None:
    found = product(EmulatedDevice(), real, (("MC_PRODUCTS", products),))
    assert least <= error(found, real) <= most


def test_the_order_of_threads_changes_no_bit() -> None:
    first = product(EmulatedDevice(seed=0), "float32")
    for seed in range(1, 5):
        assert np.array_equal(product(EmulatedDevice(seed), "float32"), first)


def test_a_block_sums() -> None:
    x, total = xp.asarray(np.arange(1000.0)), xp.zeros((), "float64")
    kernel = EmulatedDevice(3).kernel(
        Variant("tile_product", "float64", "float64"), "sum_of_squares"
    )
    kernel((1,), (128,), (x, total, 1000), 32)
    assert float(total) == float((np.arange(1000.0) ** 2).sum())


def test_bfloat16_is_rounded_as_everywhere() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=(19, 29)).astype(ml_dtypes.bfloat16)
    b = np.zeros((29, 31), ml_dtypes.bfloat16)
    b[np.arange(29), np.arange(29)] = 1
    c = xp.zeros((19, 31), ml_dtypes.bfloat16)
    kernel = EmulatedDevice().kernel(Variant("tile_product", "float32", "bfloat16"), "tile_product")
    kernel((1,), (128,), (xp.asarray(a), xp.asarray(b), c, 19, 31, 29), SHARED["float32"])
    assert np.array_equal(c.get()[:, :29], a)
    b[0] = np.float32(1 / 3)
    kernel((1,), (128,), (xp.asarray(a), xp.asarray(b), c, 19, 31, 29), SHARED["float32"])
    exact = (a.astype(np.float32) @ b.astype(np.float32)).astype(ml_dtypes.bfloat16)
    off = np.abs(c.get().astype(float) - exact.astype(float))
    assert (off <= 2.0**-8 * np.abs(exact.astype(float))).all()  # one unit: the sum's order


def planted(before: str, after: str, count: int = 1) -> Callable[[str], str]:
    """An edit that must find what it replaces."""

    def edit(text: str) -> str:
        assert text.count(before) >= 1, before
        return text.replace(before, after, count)

    return edit


BARRIER = "  __syncthreads();\n  Tile<SIZE"


def test_a_missing_barrier_is_found() -> None:
    """Threads read what others have not written yet: NaN, or another answer for another order."""
    device = EmulatedDevice(seed=1, edit=planted(BARRIER, "  Tile<SIZE"))
    assert not error(product(device, "float32"), "float32") < 1e-5


def test_a_wrong_stride_is_found() -> None:
    device = EmulatedDevice(edit=planted("right[l * APART + j]", "right[l * SIZE + j]"))
    assert not error(product(device, "float32"), "float32") < 1e-5


def test_a_barrier_in_a_branch_is_found() -> None:
    edit = planted(BARRIER, "  if (threadIdx.x < 64) __syncthreads();\n  Tile<SIZE")
    with pytest.raises(RuntimeError, match=r"different __syncthreads|deadlock"):
        product(EmulatedDevice(edit=edit), "float32")


def test_too_little_shared_memory_is_found() -> None:
    kernel = EmulatedDevice().kernel(
        Variant("tile_product", "float64", "float64"), "sum_of_squares"
    )
    with pytest.raises(RuntimeError, match="32 bytes taken, 16 given"):
        kernel((1,), (128,), (xp.zeros(8), xp.zeros(()), 8), 16)


OUT_OF_BOUNDS = """
import numpy as np
from pathlib import Path
from mcore.backends.cupy_gpu import sources
sources.FOLDER = Path({folder!r})
from mcore.backends.cupy_gpu.emulation import namespace as xp
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
edit = lambda text: text.replace("i < count;", "i <= {count};")
device = EmulatedDevice(sanitize=True, edit=edit)
variant = sources.Variant("tile_product", "float64", "float64")
total = xp.zeros(())
device.kernel(variant, "sum_of_squares")((1,), (128,), (xp.ones(512), total, 512), 32)
print("total", float(total))
"""


@pytest.mark.parametrize(("count", "found"), [("count", True), ("count - 1", False)])
def test_a_read_out_of_bounds_is_found(tmp_path: Path, count: str, found: bool) -> None:
    """By the address sanitizer; the same program without the mistake passes."""
    libraries = [_sanitizer(name) for name in ("libasan.so", "libubsan.so")]
    if not all(libraries):
        pytest.skip("g++ has no sanitizers here")
    options = "detect_leaks=0:detect_stack_use_after_return=0"
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_BOUNDS.format(folder=str(tmp_path), count=count)],
        env={**os.environ, "LD_PRELOAD": " ".join(libraries), "ASAN_OPTIONS": options},
        capture_output=True,
        text=True,
        check=False,
    )
    if found:
        assert "heap-buffer-overflow" in done.stderr, done.stderr[-2000:]
        assert "tile_product.cu:30" in done.stderr, done.stderr[:3000]
    else:
        assert done.stdout == "total 512.0\n", done.stderr[-2000:]


def _sanitizer(name: str) -> str:
    asked = ["g++", f"-print-file-name={name}"]
    path = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return path if "/" in path else ""


def test_arguments_of_another_size_are_refused() -> None:
    kernel = EmulatedDevice().kernel(
        Variant("tile_product", "float64", "float64"), "sum_of_squares"
    )
    with pytest.raises(TypeError, match="arguments of"):
        kernel((1,), (128,), (xp.zeros(8), xp.zeros(()), 8.0), 32)


@pytest.mark.parametrize("shape", [((0,), (128,)), ((1, 65536), (128,)), ((1,), (2048,))])
def test_launches_that_a_gpu_would_refuse_are_refused(shape: Any) -> None:
    kernel = EmulatedDevice().kernel(
        Variant("tile_product", "float64", "float64"), "sum_of_squares"
    )
    with pytest.raises(ValueError, match="cannot be launched"):
        kernel(shape[0], shape[1], (xp.zeros(8), xp.zeros(()), 8), 32)


def test_kernels_refuse_host_arrays_and_gaps() -> None:
    with pytest.raises(TypeError, match="on the host"):
        arguments([np.zeros(3)], "float32")
    with pytest.raises(TypeError, match="not contiguous"):
        arguments([xp.zeros((4, 4))[:, 1:]], "float32")


def test_device_arrays_are_as_strict_as_those_of_cupy() -> None:
    x = xp.ones(3)
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(x)
    with pytest.raises(TypeError, match="Unsupported type"):
        x + np.ones(3)
    traffic.reset()
    assert bool((x + 1 == 2).all())
    assert (traffic.down, traffic.up) == (1, 0)
    xp.asarray(np.ones(3))
    assert (traffic.down, traffic.up) == (1, 1)
