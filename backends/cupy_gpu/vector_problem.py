"""A scan of a vector memory as its kernels take it: arrays on the device, and their cuts."""

from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backends.cupy_gpu.cuts import Cuts, cuts_on
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.vector_plan import VectorPlan, VectorShape, plan
from mcore.backends.cupy_gpu.vector_runs import Runs, runs_on
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Segments

PLANES = {"lstm": 5, "gru": 4, "slstm": 7}
"""Numbers that a rule keeps for backward, per token and channel: see its `.cu`."""


class VectorProblem(NamedTuple):
    """Arguments of the kernels.

    Attributes:
        device, plan, cuts, runs: where, how, and over which tokens.
        kind: the rule.
        x: (B, T, H, G*V).
        recurrent: (H, V, G*V) in the dtype of states.
        bias: (H, V) of a GRU's candidate, or None.
        carry: (B, H, n, V) states, h first, or None.
        vectors: n.
    """

    device: Device
    plan: VectorPlan
    cuts: Cuts
    runs: Runs
    kind: str
    x: Array
    recurrent: Array
    bias: Array | None
    carry: Array | None
    vectors: int

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """Numbers of runs, segments and tokens of a row, heads, channels."""
        _, tokens, heads, _ = self.x.shape
        segments = self.cuts.restart.shape[1]
        return self.runs.number, segments, tokens, heads, self.recurrent.shape[1]

    @property
    def places(self) -> tuple[Array, Array, Array]:
        """The runs and where they are cut."""
        return self.runs.table, self.cuts.bounds, self.cuts.segment

    def over_tokens(self, *planes: int) -> tuple[int, ...]:
        """(B, T, H, *planes, V)."""
        return (*self.x.shape[:3], *planes, self.recurrent.shape[1])

    def kernel(self, name: str) -> Any:
        """A kernel of the rule."""
        return self.device.kernel(self.plan.variant, name)


class VectorOutput(NamedTuple):
    """What forward fills.

    Attributes:
        reads: (B, T, H, V) answers.
        checkpoints: (B, S, H, n, V).
        before: (B, T, H, V) h before each token.
        kept: (B, T, H, planes, V) gates and what else backward needs.
    """

    reads: Array
    checkpoints: Array
    before: Array
    kept: Array


class VectorGradients(NamedTuple):
    """What backward is given and fills.

    Attributes:
        reads, checkpoints: given.
        x: (B, T, H, G*V).
        inner: (B, T, H, V) of what a GRU's reset multiplies, or None.
        carry: (B, H, n, V), or None.
    """

    reads: Array
    checkpoints: Array
    x: Array
    inner: Array | None
    carry: Array | None


def posed(
    device: Device, rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments
) -> VectorProblem:
    """The arguments of `scan`, laid out."""
    xp, dims = device.xp, rule.dims(inputs)
    x = xp.ascontiguousarray(inputs["x"])
    real = "float64" if x.dtype == "float64" else "float32"
    runs = runs_on(device, segments)
    gates, (vectors, width) = rule.fixed["G"], rule.state_shape(dims)
    shape = VectorShape(rule.kind, real, x.dtype.name, width, gates)
    bias = inputs.get("recurrent_bias")
    if carry is not None:
        carry = xp.ascontiguousarray(carry, real).reshape(dims.B, dims.H, vectors, width)
    return VectorProblem(
        device,
        plan(shape, runs.number, dims.H),
        cuts_on(device, segments),
        runs,
        rule.kind,
        x,
        xp.ascontiguousarray(inputs["recurrent"], real),
        None if bias is None else xp.ascontiguousarray(bias, real),
        carry,
        vectors,
    )


def empty_output(problem: VectorProblem) -> VectorOutput:
    """Room for what forward fills; checkpoints of segments without tokens stay zero."""
    xp, real = problem.device.xp, problem.recurrent.dtype
    rows, _, heads, _ = problem.x.shape
    _, segments, _, _, width = problem.sizes
    return VectorOutput(
        xp.empty(problem.over_tokens(), problem.x.dtype),
        xp.zeros((rows, segments, heads, problem.vectors, width), real),
        xp.empty(problem.over_tokens(), real),
        xp.empty(problem.over_tokens(PLANES[problem.kind]), real),
    )


def empty_gradients(
    problem: VectorProblem, d_reads: Array, d_checkpoints: Array
) -> VectorGradients:
    """The given gradients laid out, and room for those that backward fills."""
    xp, real = problem.device.xp, problem.recurrent.dtype
    return VectorGradients(
        xp.ascontiguousarray(d_reads, problem.x.dtype),
        xp.ascontiguousarray(d_checkpoints, real),
        xp.empty_like(problem.x),
        None if problem.bias is None else xp.empty(problem.over_tokens(), problem.x.dtype),
        None if problem.carry is None else xp.zeros_like(problem.carry),
    )
