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
from mcore.backends.cupy_gpu.vector_recurrent import recurrent_gradient
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
        "recurrent": recurrent_gradient(problem, saved.before, gradients),
        "q": xp.empty((*x.shape[:3], 0), x.dtype),
    }
    if inner is not None:
        total = inner.sum(axis=(0, 1), dtype=saved.before.dtype)
        d_inputs["recurrent_bias"] = total.astype(x.dtype, copy=False)
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


VECTOR_SCAN = Pair(scan, scan_backward)
