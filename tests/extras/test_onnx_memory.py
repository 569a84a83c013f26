"""Memory layers as ONNX graphs: every rule and every readout, in onnxruntime beside the memory."""

import re
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="pip install 'mcore[onnx]'")
pytest.importorskip("onnxruntime", reason="pip install onnxruntime")

from onnx.reference import ReferenceEvaluator
from onnx_running import LIMIT, SIZES, Layer, runtime, zero_states

import mcore
from mcore.axes import make_recurrence
from mcore.errors import BackendError, ShapeError, SpecError
from mcore.export import builder, onnx_memory, readouts, rules
from mcore.export.facts import EXACT, NOTES
from mcore.readout import READOUTS
from mcore.recurrence import RULES, Dims
from mcore.testing.agreement import relative_error

CUTS = {"kind": "constant", "length": 4}
TOKENS, BOUND = 19, 10
STARTS = ("independent", "checkpoint")
NORMALISED = {"kind": "linear", "normalize": True, "feature_map": "elu1"}


def composed(rule: Any, readout: Any, **more: Any) -> dict[str, Any]:
    return {"recurrence": rule, "segmentation": CUTS, "readout": readout, **more}


@pytest.mark.parametrize("kind", [*RULES, *READOUTS])
def test_every_rule_and_readout_is_exported_or_refused_by_name(kind: str) -> None:
    rule, readout = (kind, "none") if kind in RULES else ("delta", kind)
    memory = mcore.memory(rule, CUTS, readout, backend="reference")
    known = kind in (rules.FORMS | readouts.FORMS)
    with nullcontext() if known else pytest.raises(SpecError, match=f"{kind} has no ONNX form"):
        onnx_memory(memory, {"H": 1, "K": 2, "V": 2, "E": 2}, 2)


@pytest.mark.parametrize(
    "rule", [*rules.FORMS, NORMALISED, {"kind": "titans", "chunk": 2}], ids=str
)
def test_the_axes_of_a_state_are_its_shape(rule: Any) -> None:
    lengths = {"K": 3, "V": 3, "E": 7}
    made, dims = make_recurrence(rule), Dims(1, 1, 1, 3, 3, 7)
    form = rules.rule_form(made, dims)
    shape = [_length(axis, lengths) for axis in form.axes.split()]
    assert tuple(shape) == made.state_shape(dims)
    assert form.holds


def _length(axis: str, lengths: dict[str, int]) -> int:
    """`K` 3, `K+1` 4, `4K` 12, `2` 2."""
    factor, letter, more = re.fullmatch(r"(\d*)([A-Z]?)(\+1)?", axis).groups()  # type: ignore[union-attr]
    return int(factor or 1) * lengths.get(letter, 1) + bool(more)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("rule", rules.FORMS)
def test_rules(rule: str, start: str) -> None:
    Layer(composed(rule, "grm", start=start), TOKENS, BOUND).check()


OPTIONS: list[dict[str, Any]] = [
    {"kind": "none"},
    {"kind": "residual"},
    {"kind": "soup"},
    {"kind": "sigmoid"},
    {"kind": "moving_average"},
    {"kind": "moving_average", "weights": "ema", "rate": 0.3},
    {"kind": "ssc", "top_k": 2},
    {"kind": "ssc", "top_k": 2, "online": "outside", "scale": 1.0},
    {"kind": "ssc", "top_k": 2, "router": "random", "seed": 3},
    {"kind": "grm", "pool": "sum", "temperature": True, "u": "shared"},
    {"kind": "soup", "online": "outside", "scale": 0.7},
]


@pytest.mark.parametrize("rule", ["gated_delta", "mlstm", "titans"])
@pytest.mark.parametrize("readout", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_readouts(rule: str, readout: dict[str, Any]) -> None:
    Layer(composed(rule, readout), TOKENS, BOUND).check()


@pytest.mark.parametrize("rule", [NORMALISED, *({"kind": k, "chunk": 3} for k in ("dla", "yaad"))])
@pytest.mark.parametrize("start", STARTS)
def test_options_of_rules(rule: dict[str, Any], start: str) -> None:
    Layer(composed(rule, "soup", start=start), TOKENS, BOUND).check()


SEGMENTATIONS: list[Any] = [
    "none",
    {"kind": "given", "lengths": [5, 1, 13]},
    {"kind": "given", "lengths": [[5, 1, 13], [11, 8]]},
    {"kind": "adaptive", "min": 2, "max": 6, "threshold": 0.6},
    {"kind": "adaptive", "rule": "surprise", "min": 2, "max": 6, "threshold": 0.6},
]


@pytest.mark.parametrize("cuts", SEGMENTATIONS, ids=str)
@pytest.mark.parametrize("readout", ["none", "residual", "grm"])
def test_segmentations(cuts: Any, readout: str) -> None:
    composition = composed("gated_delta", readout) | {"segmentation": cuts}
    Layer(composition, TOKENS, BOUND).check()


@pytest.mark.parametrize("rule", ["delta", "swla", "mlstm", "dla", "gru"])
@pytest.mark.parametrize("evict", ["oldest", "merge", "least_used"])
def test_bounded_caches_past_their_limit(rule: str, evict: str) -> None:
    Layer(composed(rule, "grm", cache={"limit": 2, "evict": evict}), 26).check()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_rounded_caches(dtype: str) -> None:
    """A number halfway between two codes may go to the other one: 1 / 254 of a row at most."""
    cache = {"limit": 2, "evict": "merge", "dtype": dtype}
    composition = composed("delta", "grm", cache=cache)
    layer = Layer(composition, 26)
    layer.check(limit=1e-4)
    unrounded = Layer(composed("delta", "grm", cache={"limit": 2, "evict": "merge"}), 26)
    assert dtype == "float32" or relative_error(unrounded.whole(), layer.wanted) > 1e-4


def test_beyond_its_bound_a_graph_is_a_cache_that_drops_the_oldest() -> None:
    layer = Layer(composed("delta", "grm"), 30, bound=3)
    assert exact(layer.graphs.step) == 16
    y, wanted = layer.whole(), layer.wanted
    assert relative_error(y[:, :16], wanted[:, :16]) < LIMIT
    assert relative_error(y[:, 16:], wanted[:, 16:]) > 1e-3
    bounded = Layer(composed("delta", "grm", cache={"limit": 3}), 30)
    assert relative_error(y, bounded.wanted) < LIMIT
    assert exact(bounded.graphs.step) is None


def exact(model: Any) -> int | None:
    known = {prop.key: prop.value for prop in model.metadata_props}
    assert (EXACT in known) == (NOTES in known)
    return int(known[EXACT]) if EXACT in known else None


@pytest.mark.parametrize("readout", ["residual", "moving_average"])
def test_constant_gates_over_linear_reads_need_no_bound(readout: str) -> None:
    layer = Layer(composed("gated_linear", readout), 30)
    layer.check()
    assert exact(layer.graphs.step) is None
    assert not any("checkpoints" in value.name for value in layer.graphs.step.graph.input)


@pytest.mark.parametrize(
    "composition",
    [composed("delta", {"kind": "ssc", "top_k": 2}), composed("memora", "soup", start="checkpoint"),
     composed("mlstm", "grm", cache={"limit": 2, "evict": "merge", "dtype": "int8"}),
     composed("slstm", {"kind": "ssc", "top_k": 1, "router": "random"})],
    ids=["ssc", "soup", "merge", "random"],
)  # fmt: skip
def test_the_evaluator_of_onnx_agrees(composition: dict[str, Any]) -> None:
    layer = Layer(composition, 14, BOUND)
    limit = 1e-4 if "cache" in composition else LIMIT
    assert relative_error(layer.stream(ReferenceEvaluator(layer.graphs.step)), layer.wanted) < limit
    (whole,) = ReferenceEvaluator(layer.graphs.sequence).run(["y"], layer.feeds)
    assert relative_error(whole, layer.wanted) < limit


def test_a_stream_goes_on_from_where_a_sequence_ended() -> None:
    layer = Layer(composed("titans", "grm", start="checkpoint"), TOKENS, BOUND)
    head = {n: x[:, :10] for n, x in layer.tokens().items()} | layer.parameters()
    whole, step = runtime(layer.graphs.sequence), runtime(layer.graphs.step)
    names = [value.name for value in layer.graphs.step.graph.output]
    _, *states = whole.run(names, head)
    states = dict(zip((n.removeprefix("next.") for n in names[1:]), states, strict=True))
    token = {n: x[:, 10] for n, x in layer.tokens().items()} | layer.parameters()
    (y,) = step.run(["y"], token | states)
    assert relative_error(y, layer.wanted[:, 10]) < LIMIT


def test_a_row_whose_states_are_zero_begins_anew() -> None:
    layer = Layer(composed("dla", "grm"), 12, BOUND)
    step, names = runtime(layer.graphs.step), [o.name for o in layer.graphs.step.graph.output]
    states, answers = zero_states(layer.graphs.step, SIZES["B"]), []
    for t in range(12):
        if t == 5:
            states = {name: x * np.array([1, 0], x.dtype).reshape(2, *[1] * (x.ndim - 1))
                      for name, x in states.items()}  # fmt: skip
        token = {n: x[:, t] for n, x in layer.tokens().items()} | layer.parameters()
        y, *after = step.run(names, token | states)
        answers.append(y)
        states = {n.removeprefix("next."): x for n, x in zip(names[1:], after, strict=True)}
    y = np.stack(answers, axis=1)
    later = {n: x[:, 5:] if n in layer.tokens() else x for n, x in layer.inputs.items()}
    assert relative_error(y[:1], layer.wanted[:1]) < LIMIT
    assert relative_error(y[1:, 5:], layer.memory.forward(later)[0][1:]) < LIMIT


@pytest.mark.parametrize(
    ("composition", "words"),
    [
        (composed("delta", "grm"), "--max-segments 64"),
        (composed("delta", "grm") | {"segmentation": "logarithmic"}, "total length"),
    ],
)
def test_refused(composition: dict[str, Any], words: str) -> None:
    memory = mcore.memory(**composition, backend="reference")
    with pytest.raises(SpecError, match=words):
        onnx_memory(memory, {"H": 1, "K": 2, "V": 2})


def test_sizes_and_bounds_are_checked() -> None:
    memory = mcore.memory("dla", CUTS, "grm", backend="reference")
    with pytest.raises(ShapeError, match="E missing"):
        onnx_memory(memory, {"H": 1, "K": 2, "V": 2})
    with pytest.raises(SpecError, match="max_segments: 0 is too small"):
        onnx_memory(memory, {"H": 1, "K": 2, "V": 2, "E": 3}, 0)


def test_what_nobody_has_written_as_a_graph_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = mcore.memory("delta", CUTS, "grm", backend="reference")
    monkeypatch.delitem(rules.FORMS, "delta")
    with pytest.raises(SpecError, match="recurrence: delta has no ONNX form"):
        rules.rule_form(memory.rule, Dims(1, 1, 1, 1, 1))
    monkeypatch.delitem(readouts.FORMS, "grm")
    with pytest.raises(SpecError, match="readout: grm has no ONNX form"):
        readouts.readout_form(memory.readout)


def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx.helper", None)
    with pytest.raises(BackendError, match=r"pip install 'mcore\[onnx\]'"):
        builder.onnx()
    monkeypatch.undo()
    monkeypatch.setattr(builder.onnx(), "__version__", "1.17.0")
    with pytest.raises(BackendError, match=r"onnx: 1.17.0 is installed, and the export needs 1.22"):
        builder.onnx()
