"""`scan` of vector memories: all steps in one kernel, head by block of runs in parallel.

A head's recurrent weights stay on the multiprocessor. Wider ones do not fit there; their scan takes
its steps one by one (`vector_steps.py`).
"""

from typing import NamedTuple

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.cupy_gpu import vector_steps as steps
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.backends.cupy_gpu.vector_problem import (
    VectorGradients,
    VectorOutput,
    VectorProblem,
    empty_gradients,
    empty_output,
    posed,
)
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Segments


class VectorScanSaved(NamedTuple):
    """What `scan` keeps: its arguments, h before each token, and what the kernel kept."""

    problem: VectorProblem
    before: Array
    kept: Array


def scan(
    device: Device, rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments
) -> tuple[Scan, VectorScanSaved]:
    """See `mcore.backend.Backend.scan`."""
    problem = posed(device, rule, inputs, carry, segments)
    output = empty_output(problem)
    run = _forward if problem.plan.rows else steps.forward
    run(problem, output)
    flat = output.checkpoints.reshape(*output.checkpoints.shape[:3], -1)
    return Scan(output.reads, flat), VectorScanSaved(problem, output.before, output.kept)


def scan_backward(
    device: Device, saved: VectorScanSaved, d_reads: Array, d_checkpoints: Array
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    problem, xp = saved.problem, device.xp
    gradients = empty_gradients(problem, d_reads, d_checkpoints)
    run = _backward if problem.plan.rows else steps.backward
    run(problem, saved.before, saved.kept, gradients)
    x, inner = gradients.x, gradients.inner
    d_inputs = {
        "x": x,
        "recurrent": _d_recurrent(problem, saved.before, gradients),
        "q": xp.empty((*x.shape[:3], 0), x.dtype),
    }
    if inner is not None:
        d_inputs["recurrent_bias"] = inner.sum(axis=(0, 1)).astype(x.dtype)
    if gradients.carry is None:
        return d_inputs, None
    return d_inputs, gradients.carry.reshape(*gradients.carry.shape[:2], -1)


def _forward(problem: VectorProblem, output: VectorOutput) -> None:
    plan, (count, _, _, heads, _) = problem.plan, problem.sizes
    given = (problem.x, problem.recurrent, problem.bias, problem.carry)
    problem.kernel("vector_scan")(
        (-(-count // plan.rows), heads),
        (plan.threads,),
        (*problem.places, *given, *output, *problem.sizes),
        plan.forward,
    )


def _backward(
    problem: VectorProblem, before: Array, kept: Array, gradients: VectorGradients
) -> None:
    plan, (count, _, _, heads, _) = problem.plan, problem.sizes
    problem.kernel("vector_scan_backward")(
        (-(-count // plan.rows), heads),
        (plan.threads,),
        (*problem.places, problem.recurrent, before, kept, *gradients, *problem.sizes),
        plan.backward,
    )


def _d_recurrent(problem: VectorProblem, before: Array, gradients: VectorGradients) -> Array:
    """`dU = sum over rows and tokens of h^T d(h U)`: one large product per head."""
    xp, width = problem.device.xp, problem.recurrent.shape[1]
    h = _by_head(before).swapaxes(1, 2)
    d_products = _by_head(gradients.x.astype(before.dtype, copy=False))
    if gradients.inner is not None:
        outer = d_products[..., :-width]
        d_products = xp.concatenate([outer, _by_head(gradients.inner)], axis=-1)
    total: Array = xp.matmul(h, d_products).astype(gradients.x.dtype, copy=False)
    return total


def _by_head(x: Array) -> Array:
    """(H, B T, .) from (B, T, H, .)."""
    moved: Array = x.transpose(2, 0, 1, 3).reshape(x.shape[2], -1, x.shape[3])
    return moved


VECTOR_SCAN = Pair(scan, scan_backward)
