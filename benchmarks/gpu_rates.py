"""What the device can do: the bandwidth of a copy, cuBLAS's rates on large and small matrices."""

from collections.abc import Callable
from functools import partial
from typing import Any

import ml_dtypes

from benchmarks.gpu_lab import Lab

LARGE = 8192
SMALL = ((64, 64), (128, 128))
"""Sides of the matrices that a layer is made of: chunk and width."""


def run(lab: Lab) -> bool:
    """Measure them; always true."""
    copy_bandwidth(lab)
    for name in ("float32", "tf32", "bfloat16", "float64"):
        with _Tf32(lab, name == "tf32"):
            _products(lab, name)
    return True


def copy_bandwidth(lab: Lab) -> float:
    """Bytes per second, read and written, of a copy far larger than the caches."""
    count = 1 << (10 if lab.emulated else 28)
    x, y = (lab.xp.zeros(count, "float32") for _ in range(2))
    seconds = lab.best({"copy": lambda: lab.xp.copyto(y, x)})["copy"]
    rate = 2.0 * float(x.nbytes) / seconds
    lab.store("rates", "copy", {"bytes per second": rate})
    return rate


def _products(lab: Lab, name: str) -> None:
    """One product of large matrices, and many small ones at once."""
    dtype = "float32" if name == "tf32" else name
    side = 32 if lab.emulated else LARGE
    large = _operands(lab, (side, side), dtype)
    _store(lab, f"{name} {side}", 2.0 * side**3, lambda: lab.xp.matmul(*large))
    if name == "bfloat16":
        return  # CuPy has no batched product of bfloat16
    for chunk, width in SMALL:
        batch = 4 if lab.emulated else 16384
        x = _operands(lab, (batch, chunk, width), dtype)
        y = (x[0], x[1].swapaxes(1, 2))
        flops = 2.0 * batch * chunk * chunk * width
        _store(lab, f"{name} {batch} x {chunk} x {width}", flops, partial(lab.xp.matmul, *y))


def _operands(lab: Lab, shape: tuple[int, ...], dtype: str) -> tuple[Any, Any]:
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    return lab.xp.ones(shape, kind), lab.xp.ones(shape, kind)


def _store(lab: Lab, name: str, flops: float, call: Callable[[], object]) -> None:
    seconds = lab.best({name: call})[name]
    lab.store("rates", name, {"flops per second": flops / seconds})


class _Tf32:
    """Whether cuBLAS may round float32 inputs to TF32 meanwhile."""

    def __init__(self, lab: Lab, on: bool) -> None:
        self.on = on and not lab.emulated

    def __enter__(self) -> None:
        if self.on:
            from cupy._core import set_compute_type
            from cupy._core._routines_linalg import COMPUTE_TYPE_TF32

            set_compute_type("f", COMPUTE_TYPE_TF32)

    def __exit__(self, *_: object) -> None:
        if self.on:
            from cupy._core import set_compute_type
            from cupy._core._routines_linalg import COMPUTE_TYPE_DEFAULT

            set_compute_type("f", COMPUTE_TYPE_DEFAULT)
