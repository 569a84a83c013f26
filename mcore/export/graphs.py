"""A program as two ONNX models: one token with its state, and a whole sequence as a Scan over that.

Both take the same names: inputs (B, ...) per token and (B, T, ...) per sequence, every state
`NAME`, and give `next.NAME`, the state after the last token. The sequence begins a stream itself.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mcore.errors import SpecError
from mcore.export import ops
from mcore.export.builder import Builder, Tensor, code, onnx
from mcore.export.declared import Declared
from mcore.export.metadata import KINDS, properties, said
from mcore.export.program import Program
from mcore.export.prune import pruned, renamed

OPSET = 21
IR_VERSION = 10
LARGEST = 2**31 - 1
"""Bytes of a protobuf message."""


class Graphs(NamedTuple):
    """What an export gives: two `onnx.ModelProto`.

    Attributes:
        step: a token and the states in, the output and the next states out.
        sequence: a sequence in, its outputs and the last states out.
    """

    step: Any
    sequence: Any


class _Whole(NamedTuple):
    """A graph whose nodes are there: what goes in, what comes out, and by what values."""

    builder: Builder
    kind: str
    taken: list[Declared]
    given: list[Declared]
    ends: list[Tensor]

    def names(self) -> dict[str, str]:
        """Value -> output; what comes out as it went in, or twice, is copied."""
        names, fixed = dict[str, str](), {declared.name for declared in self.taken}
        for x, declared in zip(self.ends, self.given, strict=True):
            once = x.name not in fixed and x.name not in names
            names[x.name if once else self.builder.copy(x).name] = declared.name
        return names


def graphs_of(program: Program) -> Graphs:
    """Both models, checked.

    Raises:
        BackendError: onnx is not installed.
        SpecError: a model of 2 GB or more.
    """
    return Graphs(step_model(program), sequence_model(program))


def step_model(program: Program) -> Any:
    """One token."""
    builder = Builder()
    taken = [*program.inputs, *program.parameters, *program.states]
    x = _values(builder, [*program.inputs, *program.parameters])
    y, after = program.body(builder, x, _values(builder, program.states))
    given = [program.output, *(declared.after for declared in program.states)]
    ends = [program.leave(builder, y, x), *(after[declared.name] for declared in program.states)]
    return _model(program, _Whole(builder, "step", taken, given, ends))


def sequence_model(program: Program) -> Any:
    """A whole sequence."""
    builder = Builder()
    inputs = [declared.over_time for declared in program.inputs]
    taken = [*inputs, *program.parameters]
    x = _values(builder, taken)
    rows = builder.node("Shape", [x[inputs[0].name]], "int64", {"start": 0, "end": 1})
    begins = [_zeros(rows, declared) for declared in program.states]
    moved = {declared.name: _time_first(x[declared.name], declared) for declared in inputs}
    body = _body(program, builder, x)
    dtypes = [declared.dtype for declared in [*program.states, program.hidden]]
    attributes = {"body": body, "num_scan_inputs": len(moved)}
    *ends, y = builder.nodes_out("Scan", [*begins, *moved.values()], dtypes, attributes)
    output = program.output.over_time
    given = [output, *(declared.after for declared in program.states)]
    ends = [_time_first(program.leave(builder, y, moved), output), *ends]
    return _model(program, _Whole(builder, "sequence", taken, given, ends))


def _body(program: Program, outer: Builder, x: dict[str, Tensor]) -> Any:
    """One token as the body of a Scan: states, then inputs; states, then the output."""
    builder = Builder(outer)
    inner = {d.name: Tensor(builder, f"at.{d.name}", d.dtype) for d in program.inputs}
    inner |= {d.name: builder.outer(x[d.name]) for d in program.parameters}
    before = {d.name: Tensor(builder, f"before.{d.name}", d.dtype) for d in program.states}
    y, after = program.body(builder, inner, before)
    taken = [_info(d, f"before.{d.name}") for d in program.states]
    taken += [_info(d, f"at.{d.name}") for d in program.inputs]
    outputs = [(d, builder.copy(after[d.name])) for d in program.states]
    outputs.append((program.hidden, builder.copy(y)))
    given = [_info(declared, x.name) for declared, x in outputs]
    return onnx().helper.make_graph(builder.nodes, "token", taken, given)


def _values(builder: Builder, declared: Sequence[Declared]) -> dict[str, Tensor]:
    return {d.name: Tensor(builder, d.name, d.dtype) for d in declared}


def _zeros(rows: Tensor, declared: Declared) -> Tensor:
    """The state before the first token, for as many rows as there are."""
    rest = rows.builder.constant(np.array(declared.shape[1:], np.int64))
    shape = ops.concatenate([rows, rest], 0) if len(declared.shape) > 1 else rows
    zero = onnx().numpy_helper.from_array(np.zeros(1, declared.dtype))
    return rows.builder.node("ConstantOfShape", [shape], declared.dtype, {"value": zero})


def _time_first(x: Tensor, declared: Declared) -> Tensor:
    """(B, T, ...) to (T, B, ...), or back."""
    return ops.transpose(x, (1, 0, *range(2, len(declared.shape))))


def _info(declared: Declared, name: str) -> Any:
    make = onnx().helper.make_tensor_value_info
    return make(name, code(declared.dtype), declared.shape, doc_string=said(declared))


def _model(program: Program, whole: _Whole) -> Any:
    helper, builder, kind = onnx().helper, whole.builder, whole.kind
    infos = [[_info(d, d.name) for d in side] for side in (whole.taken, whole.given)]
    renamed(builder.nodes, whole.names())
    nodes, used = pruned(builder.nodes, [declared.name for declared in whole.given])
    weights = [each for each in builder.initializers if each.name in used]
    graph = helper.make_graph(nodes, kind, *infos, initializer=weights, doc_string=KINDS[kind])
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    model.producer_name = "mcore"
    model.producer_version = program.facts.get("mcore.version", "")
    helper.set_model_props(model, properties(program, kind, whole.taken, whole.given))
    if model.ByteSize() > LARGEST:
        raise SpecError(
            f"model: {model.ByteSize() / 1e9:.1f} GB, and an ONNX file holds 2; a smaller "
            "model.width, or fewer segments, would do"
        )
    onnx().checker.check_model(model, full_check=True)
    return model
