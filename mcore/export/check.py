"""Are these graphs the model? Its answers to some tokens beside those of onnx's own evaluator."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.errors import McoreError
from mcore.export.builder import onnx
from mcore.export.declared import NEXT
from mcore.export.facts import EXACT
from mcore.export.graphs import Graphs
from mcore.export.parts.ends import ends_form
from mcore.model import Model
from mcore.model.memory_mixer import MemoryMixer
from mcore.model.parallel import Parallel
from mcore.model.part import Part
from mcore.segmentation import Given

LARGEST = 1e-3
"""Relative to the largest logit: rounding stays far below it, an error in a formula does not."""


class Checked(NamedTuple):
    """What was found.

    Attributes:
        tokens: how many a row had: no more than the graphs are exact for.
        apart: how far the outputs were from the model's at most, relative to the largest.
    """

    tokens: int
    apart: float


def check_graphs(graphs: Graphs, model: Model, tokens: int) -> Checked:
    """How far both graphs' outputs are from the model's over random rows of so many tokens.

    Raises:
        McoreError: farther than rounding explains.
    """
    onnx()
    from onnx.reference import ReferenceEvaluator

    known = {prop.key: prop.value for prop in graphs.step.metadata_props}
    ends, count = ends_form(model), min(tokens, int(known.get(EXACT, tokens)))
    rows = ends.sample(np.random.default_rng(0), _rows(model), count)
    wanted, feeds = model.session().feed(rows), {ends.input.name: rows}
    (found,) = ReferenceEvaluator(graphs.sequence).run([ends.output.name], feeds)
    answers = [found, streamed(ReferenceEvaluator(graphs.step), graphs.step, feeds, {})]
    apart = max(float(np.abs(answer - wanted).max()) for answer in answers)
    relative = apart / float(np.abs(wanted).max())
    if not relative < LARGEST:
        raise McoreError(
            f"export: the graphs' outputs are {relative:.1e} of the largest away from the model's "
            f"after {count} tokens, which rounding rarely explains; nothing was written, and "
            "--check 0 would write them as they are"
        )
    return Checked(count, relative)


def streamed(
    evaluator: Any, step: Any, tokens: Mapping[str, Array], parameters: Mapping[str, Array]
) -> Array:
    """The first output (B, T, .), one token after the other from zero states.

    Args:
        evaluator: runs the graph, as `ReferenceEvaluator` and `InferenceSession` do.
        step: the graph.
        tokens: inputs (B, T, ...) by name.
        parameters: inputs that are the same for all tokens.
    """
    (rows, length, *_), *_ = (x.shape for x in tokens.values())
    names, states = [output.name for output in step.graph.output], zero_states(step, rows)
    answers = []
    for t in range(length):
        feeds = {name: x[:, t] for name, x in tokens.items()} | dict(parameters) | states
        answer, *after = evaluator.run(names, feeds)
        answers.append(answer)
        states = {n.removeprefix(NEXT): x for n, x in zip(names[1:], after, strict=True)}
    return np.stack(answers, axis=1)


def zero_states(step: Any, rows: int) -> dict[str, Array]:
    """The states before the first token."""
    helper, given = onnx().helper, {output.name for output in step.graph.output}
    states = {}
    for value in step.graph.input:
        if NEXT + value.name in given:
            tensor = value.type.tensor_type
            shape = [dim.dim_value or rows for dim in tensor.shape.dim]
            states[value.name] = np.zeros(shape, helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return states


def _rows(model: Model) -> int:
    """Rows that the model takes: a segmentation may name them."""
    for mixer in _mixers(part.part for part in model.layout.parts.values()):
        cut = mixer.memory.segmentation
        if isinstance(cut, Given) and not cut.shared:
            return len(cut.lengths)
    return 1


def _mixers(parts: Iterable[Part]) -> Iterator[MemoryMixer]:
    for part in parts:
        if isinstance(part, MemoryMixer):
            yield part
        if isinstance(part, Parallel):
            yield from _mixers(part.parts.values())
