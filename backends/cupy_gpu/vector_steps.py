"""Scan of vector memories too wide for one multiprocessor: step by step, all runs at once.

`h U` is a matrix product over all runs; one kernel does the rest of a step. Nothing but launches:
a CUDA graph can hold them.
"""

from mcore.arrays import Array
from mcore.backends.cupy_gpu.vector_problem import VectorGradients, VectorOutput, VectorProblem

THREADS = 256


def forward(problem: VectorProblem, output: VectorOutput) -> None:
    """Fill `output`."""
    xp, (count, _, _, heads, width) = problem.device.xp, problem.sizes
    states = xp.empty((problem.vectors, heads, count, width), problem.recurrent.dtype)
    ends = (count, heads, width)
    _run(problem, "vector_begin", (problem.runs.table, problem.carry, states, *ends))
    for step in range(problem.runs.longest):
        given = (problem.x, xp.matmul(states[0], problem.recurrent), problem.bias, states)
        arguments = (*problem.places, *given, *output, step, *problem.sizes)
        _run(problem, "vector_step", arguments)


def backward(
    problem: VectorProblem, before: Array, kept: Array, gradients: VectorGradients
) -> None:
    """Fill `gradients`."""
    xp, (count, _, _, heads, width) = problem.device.xp, problem.sizes
    real = problem.recurrent.dtype
    d_states = xp.zeros((problem.vectors, heads, count, width), real)
    d_products = xp.empty((heads, count, problem.recurrent.shape[2]), real)
    transposed = xp.ascontiguousarray(problem.recurrent.swapaxes(1, 2))
    given = (before, kept, gradients.reads, gradients.checkpoints, gradients.x, gradients.inner)
    for step in reversed(range(problem.runs.longest)):
        arguments = (*problem.places, *given, d_states, d_products, step, *problem.sizes)
        _run(problem, "vector_step_backward", arguments)
        d_states[0] += xp.matmul(d_products, transposed)
    if gradients.carry is not None:
        ends = (count, heads, width)
        last = (problem.runs.table, d_states, gradients.carry, *ends)
        _run(problem, "vector_begin_backward", last)


def _run(problem: VectorProblem, name: str, arguments: tuple[object, ...]) -> None:
    count, _, _, heads, width = problem.sizes
    blocks = -(-count * heads * width // THREADS)
    problem.kernel(name)((blocks,), (THREADS,), arguments, 0)
