"""Gradient of a vector memory's recurrent weights: `dU = sum over rows and tokens of h^T d(h U)`.

Nothing is copied or transposed for it. Stretches of tokens are summed apart and added in order, so
that few heads keep a GPU busy and the same call gives the same bits.
"""

from mcore.arrays import Array
from mcore.backends.cupy_gpu.sources import Variant
from mcore.backends.cupy_gpu.vector_plan import BLOCKS
from mcore.backends.cupy_gpu.vector_problem import VectorGradients, VectorProblem

SIDE, DEPTH, THREADS = 64, 32, 128
"""Of the blocks: see `vector_recurrent.cu`."""

FEWEST = 512
"""Tokens of a stretch that are worth a part of the sum."""


def recurrent_gradient(problem: VectorProblem, before: Array, gradients: VectorGradients) -> Array:
    """(H, V, G*V) in the dtype of x."""
    xp, (heads, width, columns) = problem.device.xp, problem.recurrent.shape
    count = before.shape[0] * before.shape[1]
    stretches = _stretches(count, heads * _blocks(width) * _blocks(columns))
    parts = xp.empty((stretches, heads, width, columns), before.dtype)
    outer = columns if gradients.inner is None else columns - width
    _add(problem, (before, gradients.x, parts), outer, 0)
    if gradients.inner is not None:
        _add(problem, (before, gradients.inner, parts), width, outer)
    total: Array = parts[0] if stretches == 1 else parts.sum(axis=0)
    return total.astype(gradients.x.dtype, copy=False)


def _add(
    problem: VectorProblem, arrays: tuple[Array, Array, Array], columns: int, offset: int
) -> None:
    """Fill `columns` columns of the parts, from `offset` on."""
    before, d_products, parts = arrays
    stretches, heads, width, all_columns = parts.shape
    count = before.shape[0] * before.shape[1]
    each = -(-count // (stretches * DEPTH)) * DEPTH
    variant = Variant("vector_recurrent", before.dtype.name, d_products.dtype.name)
    sizes = (count, each, width, d_products.shape[-1], columns, offset, all_columns)
    problem.device.kernel(variant, "recurrent_gradient")(
        (_blocks(width) * _blocks(columns), heads, stretches),
        (THREADS,),
        (*arrays, *sizes),
        4 * DEPTH * (SIDE + 8) * before.dtype.itemsize,
    )


def _stretches(count: int, blocks: int) -> int:
    return max(1, min(BLOCKS // blocks, count // FEWEST))


def _blocks(width: int) -> int:
    return -(-width // SIDE)
