"""A bare memory layer as graphs: raw inputs in, answers out."""

from collections.abc import Mapping

from mcore.errors import ShapeError
from mcore.export.builder import Builder, Tensor, onnx
from mcore.export.carried import carried
from mcore.export.composition import Composition
from mcore.export.declared import Declared, lengths_of, of_axes
from mcore.export.facts import facts
from mcore.export.graphs import Graphs, graphs_of
from mcore.export.memory import remembered
from mcore.export.program import Program, Values
from mcore.memory_layer import Memory
from mcore.recurrence import Dims

POSITION = Declared("position", "B", ("B",), "tokens of the stream so far", "int64")


def onnx_memory(
    memory: Memory, sizes: Mapping[str, int], max_segments: int | None = None
) -> Graphs:
    """`memory.step` and `memory.forward` as ONNX models, in float32.

    Inputs are those of `memory.inputs` by name, per token (B, H, ...) or per sequence
    (B, T, H, ...); parameters are inputs as well. The output is `y`.

    Args:
        memory: the composition.
        sizes: lengths of the axes H, K, V, and E for perceptrons.
        max_segments: how many checkpoints are held, where the cache has no limit; the oldest is
            dropped when there is one too many.

    Raises:
        BackendError: onnx is not installed.
        SpecError: the composition has no graph, or needs `max_segments`.
        ShapeError: a size is missing.

    Example:
        >>> layer = mcore.memory("delta", {"kind": "constant", "length": 8}, "grm")
        >>> step, sequence = onnx_memory(layer, {"H": 2, "K": 4, "V": 4}, max_segments=16)
        >>> onnx.save(step, "delta.step.onnx")
    """
    onnx()
    dims = _dims(memory, sizes)
    composition = Composition(memory, dims, max_segments)
    lengths = lengths_of(memory.rule, dims)
    made = [(n, a, of_axes(n, a, lengths, f"input {n}")) for n, a in memory.inputs.items()]
    inputs = [_of_token(d) for _, axes, d in made if "T" in axes.split()]
    parameters = [d for _, axes, d in made if "T" not in axes.split()]
    output = Declared("y", "B H V", ("B", dims.H, dims.V), "the memory's answer")

    def body(
        builder: Builder, x: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> tuple[Tensor, Values]:
        before = {name: tensor for name, tensor in state.items() if name != POSITION.name}
        y, after = remembered(composition, x, before, state[POSITION.name])
        return y, {**after, POSITION.name: state[POSITION.name] + 1}

    states = [POSITION, *carried(composition)]
    known = facts(memory.origin, composition.bounds("the memory"))
    return graphs_of(Program(inputs, parameters, output, states, body, output, _as_it_is, known))


def _as_it_is(builder: Builder, hidden: Tensor, x: Mapping[str, Tensor]) -> Tensor:
    return hidden


def _dims(memory: Memory, sizes: Mapping[str, int]) -> Dims:
    axes = {axis for axes in memory.inputs.values() for axis in axes.replace("*", " ").split()}
    wanted = [axis for axis in "HKVE" if axis in axes]
    if missing := [axis for axis in wanted if sizes.get(axis, 0) < 1]:
        have = ", ".join(f"{name} = {size}" for name, size in sizes.items()) or "none"
        raise ShapeError(
            f"sizes: {', '.join(missing)} missing; this composition needs {', '.join(wanted)}, "
            f"each 1 or more, and was given {have}"
        )
    return Dims(1, 1, sizes["H"], sizes.get("K", 0), sizes["V"], sizes.get("E", 0))


def _of_token(declared: Declared) -> Declared:
    """Without the T axis."""
    axes = declared.axes.split()
    at = axes.index("T")
    shape = declared.shape[:at] + declared.shape[at + 1 :]
    return Declared(declared.name, " ".join(axes[:at] + axes[at + 1 :]), shape, declared.meaning)
