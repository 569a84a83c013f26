"""Products of bfloat16 matrices by cuBLAS, added up in float32 and rounded once.

CuPy's own `matmul` rounds to bfloat16 always; here the result may be float32.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.layers.product import number_type

TYPES = {"float32": 0, "bfloat16": 14}
"""`CUDA_R_32F`, `CUDA_R_16BF`."""

COMPUTE_FLOAT32 = 68
"""`CUBLAS_COMPUTE_32F`."""

NO_ROUNDED_SUMS = 16
"""`CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION`: parts of a sum stay in float32, too."""

AS_IT_IS, TURNED, ANY_ALGORITHM = 0, 1, -1
"""`CUBLAS_OP_N`, `CUBLAS_OP_T`, `CUBLAS_GEMM_DEFAULT`."""

_ONE, _ZERO = np.ones((), np.float32), np.zeros((), np.float32)


class Lying(NamedTuple):
    """A matrix in memory: whether cuBLAS must turn it, and numbers from line to line."""

    x: Array
    turn: int
    pitch: int


def half_product(device: Device, cublas: Any, handle: int, a: Array, b: Array, dtype: str) -> Array:
    """`a b` in `dtype`, as `mcore.layers.product` wants it.

    cuBLAS counts by columns: a row-major C = A B is for it C^T = B^T A^T, of which it takes the
    operands as they lie, whichever of their axes is the dense one.
    """
    (m, k), n = a.shape, b.shape[1]
    make = device.xp.empty if m and n and k else device.xp.zeros
    c: Array = make((m, n), number_type(dtype))
    if not (m and n and k):
        return c
    first, second, half = as_it_lies(device, b), as_it_lies(device, a), TYPES["bfloat16"]
    operands = [(int(device.address(held.x)), half, held.pitch) for held in (first, second)]
    result = (int(device.address(c)), TYPES[dtype], n)
    sizes = (handle, first.turn, second.turn, n, m, k)
    factors = (_ONE.ctypes.data,), (_ZERO.ctypes.data,)
    arguments = (*sizes, *factors[0], *operands[0], *operands[1], *factors[1], *result)
    mode = cublas.getMathMode(handle)
    cublas.setMathMode(handle, mode | NO_ROUNDED_SUMS)
    try:
        cublas.gemmEx(*arguments, COMPUTE_FLOAT32, ANY_ALGORITHM)
    finally:
        cublas.setMathMode(handle, mode)
    return c


def as_it_lies(device: Device, x: Array) -> Lying:
    """A matrix as it is, if one of its axes is dense; else a copy that is."""
    rows, columns = x.shape
    down, across = (stride // x.itemsize for stride in x.strides)
    if (across == 1 or columns == 1) and (down >= columns or rows == 1):
        return Lying(x, AS_IT_IS, down if rows > 1 else columns)
    if (down == 1 or rows == 1) and (across >= rows or columns == 1):
        return Lying(x, TURNED, across if columns > 1 else rows)
    return Lying(device.xp.ascontiguousarray(x), AS_IT_IS, columns)
