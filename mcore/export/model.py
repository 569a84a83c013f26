"""A trained model as graphs: tokens in, logits out, with everything it carries."""

from collections.abc import Mapping

from mcore.export.builder import Builder, Tensor, onnx
from mcore.export.declared import Declared
from mcore.export.facts import facts
from mcore.export.graphs import Graphs, graphs_of
from mcore.export.layer import POSITION
from mcore.export.parts import Around, Limits, ResidualForm, part_form
from mcore.export.parts.ends import ends_form
from mcore.export.program import Program, Values
from mcore.model import Model
from mcore.model.part import scoped


def onnx_model(
    model: Model, max_segments: int | None = None, max_tokens: int | None = None
) -> Graphs:
    """`session.feed` and `model.forward` as ONNX models, in float32.

    Args:
        model: with its parameters, which are written into both.
        max_segments: checkpoints held by a memory whose cache has no limit.
        max_tokens: tokens that attention without a window sees.

    Raises:
        BackendError: onnx is not installed.
        SpecError: a part has no graph, or needs one of the bounds; names the part.

    Example:
        >>> step, sequence = onnx_model(mcore.load("runs/text-1"), max_segments=64)
        >>> onnx.save(step, "text.step.onnx")
    """
    from mcore.spec import dump_spec

    onnx()
    ends, limits = ends_form(model), Limits(max_segments, max_tokens)
    parts = [
        ResidualForm(
            part_form(part.part, Around(name, scoped(model.params, name), limits)), part.width
        )
        for name, part in model.layout.parts.items()
    ]

    def body(
        builder: Builder, x: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> tuple[Tensor, Values]:
        hidden, position = ends.enter(x[ends.input.name]), state[POSITION.name]
        after: Values = {POSITION.name: position + 1}
        for part in parts:
            hidden, carried = part.step(hidden, dict(state), position)
            after |= carried
        hidden, carried = ends.last(hidden, dict(state), position)
        return hidden, after | carried

    states = [POSITION, *(declared for part in parts for declared in part.states())]
    states += ends.states()
    bounds = [bound for part in parts for bound in part.inner.bounds()]
    hidden = Declared("hidden", "B D", ("B", model.layout.width), "the token after all parts")
    return graphs_of(
        Program(
            [ends.input], [], ends.output, states, body,
            hidden, ends.leave, facts(dump_spec(model.spec), bounds),
        )
    )  # fmt: skip
