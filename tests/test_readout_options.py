"""What single options of readouts promise, beyond what every memory is held to."""

from typing import Any

import numpy as np
import pytest
from harness import BACKENDS, maker
from tolerances import tolerance

import mcore
from mcore.arrays import Array
from mcore.axes import make_readout
from mcore.testing import streaming
from mcore.testing.agreement import answer, assert_agree, change, output
from mcore.testing.gradcheck import check_inputs
from mcore.testing.strategies import DETACHED, VARIANTS, Axis, Composition, Example, Sizes

SAME = tolerance("float64", "same")
SIZES = Sizes(B=2, T=11, H=2, K=4, V=3)
CUTS: Axis = {"kind": "constant", "length": 3}
LOTS: Axis = {"kind": "ssc", "top_k": 1, "router": "random", "seed": 5}
every_backend = pytest.mark.parametrize("backend", BACKENDS)


def example_of(readout: Axis, recurrence: Axis = "gated_delta", start: str = "independent") -> Any:
    composition: Composition = {
        "recurrence": recurrence, "segmentation": CUTS, "readout": readout, "start": start,
    }  # fmt: skip
    return Example(composition, SIZES, seed=3)


@every_backend
@pytest.mark.parametrize("readout", [*VARIANTS, *DETACHED, "sigmoid"], ids=str)
def test_streams(backend: str, readout: Axis) -> None:
    """Any split gives the batch's answers, and gradients through the states the batch's too."""
    example = example_of(readout, start="checkpoint")
    streaming.stream_equals_batch(maker(backend), example, [2, 1, 3, 5], SAME)
    streaming.chained_backward_equals_whole(maker(backend), example, [2, 1, 3, 5], 1e-9)


@every_backend
def test_a_scale_is_a_larger_u(backend: str) -> None:
    example = example_of("grm")
    raw = change(example.composition, "readout", {"kind": "grm", "scale": 1.0})
    larger = example.inputs | {"u": 2.0 * example.inputs["u"]}
    want = output(maker(backend), example.composition, larger)
    assert_agree(output(maker(backend), raw, example.inputs), want, SAME, "y")


@every_backend
def test_sums_weigh_as_means_where_segments_are_of_one_token(backend: str) -> None:
    example = example_of("grm")
    single = change(example.composition, "segmentation", {"kind": "constant", "length": 1})
    summed = change(single, "readout", {"kind": "grm", "pool": "sum"})
    want = output(maker(backend), single, example.inputs)
    assert_agree(output(maker(backend), summed, example.inputs), want, SAME, "y")


@every_backend
def test_shared_u_is_q_before_any_feature_map(backend: str) -> None:
    example = example_of("grm", {"kind": "linear", "feature_map": "elu1"})
    shared = change(example.composition, "readout", {"kind": "grm", "u": "shared"})
    same = example.inputs | {"u": example.inputs["q"]}
    memory = maker(backend)(example.composition)
    y, saved = memory.forward(same)
    wanted = memory.backward(saved, example.dy)
    other = Example(shared, SIZES, seed=3)
    assert "u" not in other.declared
    memory = maker(backend)(shared)
    got, saved = memory.forward({name: same[name] for name in other.declared})
    gradients = memory.backward(saved, example.dy)
    assert_agree(got, y, SAME, "y")
    assert_agree(gradients["q"], wanted["q"] + wanted["u"], SAME, "q")


@every_backend
def test_online_outside_adds_the_cache_to_the_online_answer(backend: str) -> None:
    """With one checkpoint its gate is 1: y = o + M_1(q), as residual."""
    example = example_of({"kind": "grm", "online": "outside"})
    cuts = change(example.composition, "segmentation", {"kind": "given", "lengths": [4, 7]})
    want = output(maker(backend), change(cuts, "readout", "residual"), example.inputs)
    assert_agree(output(maker(backend), cuts, example.inputs), want, SAME, "y")


@every_backend
@pytest.mark.parametrize("readout", DETACHED, ids=str)
def test_detached_passes_nothing_through_the_cache(backend: str, readout: Axis) -> None:
    """A loss on the last segment reaches no token of earlier ones, and no checkpoint."""
    example = example_of(readout, {"kind": "linear", "feature_map": "elu1", "normalize": True})
    memory = maker(backend)(example.composition)
    first, second = example.pieces([9, 2])
    _, saved = memory.forward(first)
    y, later = memory.forward(second, saved.end)
    gradients = memory.backward(later, np.ones_like(y))
    for name in ("checkpoints", "contexts"):
        assert not getattr(gradients["state"], name).any(), name
    assert all(gradients[name].any() for name in ("q", "k", "v", "u"))
    earlier = memory.backward(saved, np.zeros((2, 9, 2, 3)), gradients["state"])
    assert not any(gradient.any() for gradient in earlier.values())


@every_backend
@pytest.mark.parametrize("options", [{"limit": 2}, {"limit": 2, "evict": "merge"}], ids=str)
def test_lots_are_the_same_however_a_bounded_stream_is_split(
    backend: str, options: dict[str, Any]
) -> None:
    example = example_of(LOTS)
    memory = mcore.memory(**example.composition, cache=options, backend=backend, dtype="float64")
    whole, _ = memory.forward(example.inputs)
    state, parts = None, []
    for piece in example.pieces([4, 1, 6]):
        y, state = memory.step(piece, state)
        parts.append(y)
    assert_agree(np.concatenate(parts, axis=1), whole, SAME, "y")


@every_backend
def test_lots_are_drawn_afresh_for_each_document(backend: str) -> None:
    """Packed documents draw the lots that each would draw alone."""
    example = example_of(LOTS)
    memory = maker(backend)(example.composition)
    ids = np.repeat([[0, 1], [0, 1]], [5, 6], axis=1)
    packed, _ = memory.forward(example.inputs, document=ids)
    alone = [memory.forward(piece)[0] for piece in example.pieces([5, 6])]
    assert_agree(packed, np.concatenate(alone, axis=1), SAME, "y")


@every_backend
def test_another_seed_draws_other_lots(backend: str) -> None:
    example = example_of(LOTS)
    other = change(example.composition, "readout", {**LOTS, "seed": 6})  # type: ignore[dict-item]
    y = output(maker(backend), example.composition, example.inputs)
    assert np.abs(output(maker(backend), other, example.inputs) - y).max() > 1e-3


@every_backend
def test_shut_gates_give_the_plain_recurrence(backend: str) -> None:
    """With a large negative bias; at zero all gates are a half."""
    example = example_of("sigmoid")
    names = ("gate_online", "gate_cached", "gate_bias")
    zero = example.inputs | {name: np.zeros_like(example.inputs[name]) for name in names}
    base = output(maker(backend), change(example.composition, "readout", "none"), zero)
    sums = output(maker(backend), change(example.composition, "readout", "residual"), zero)
    half = output(maker(backend), example.composition, zero)
    assert_agree(half, (base + sums) / 2, SAME, "y")
    shut = output(maker(backend), example.composition, zero | {"gate_bias": zero["gate_bias"] - 40})
    assert_agree(shut, base, SAME, "y")


@every_backend
@pytest.mark.parametrize("recurrence", ["dla", "mlstm", "gru"])
def test_sigmoid_gradients_of_other_memories(backend: str, recurrence: str) -> None:
    example = example_of("sigmoid", recurrence, "checkpoint")
    memory = maker(backend)(example.composition)
    check_inputs(memory.forward, memory.backward, example.inputs, 1e-6)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"kind": "grm", "pool": "max"}, r"readout\.pool: 'max' will not do; mean or sum would"),
        ({"kind": "grm", "scale": 0.0}, r"readout\.scale: 0\.0 is out of range"),
        ({"kind": "soup", "temperature": 1}, r"readout\.temperature: 1 .* true or false would"),
        ({"kind": "ssc", "seed": 1}, r"readout\.seed: belongs to router random"),
        ({"kind": "ssc", "router": "random", "seed": -1}, r"readout\.seed: -1 is out of range"),
        ({"kind": "sigmoid", "top_k": 1}, r"readout\.top_k: not an option of sigmoid"),
    ],
    ids=str,
)
def test_wrong_options_are_named(choice: Any, message: str) -> None:
    with pytest.raises(mcore.SpecError, match=message):
        make_readout(choice)


def test_vector_rules_have_no_query_to_share() -> None:
    with pytest.raises(mcore.SpecError, match=r"readout\.u: .* gru has none; learned would do"):
        mcore.memory("gru", CUTS, {"kind": "grm", "u": "shared"})


def model_of(readout: Axis, recurrence: str = "gated_delta") -> Any:
    sizes = {"width": 8, "depth": 1, "heads": 2, "key": 4, "value": 4, "mlp": 0.0}
    return mcore.compile(
        {
            "model": sizes,
            "memory": {"recurrence": recurrence, "segmentation": CUTS, "readout": readout},
            "data": {"task": "mqar", "vocab": 12, "length": 16, "pairs": 4},
            "backend": "reference",
            "dtype": "float64",
        }
    )


@pytest.mark.parametrize("recurrence", ["gated_delta", "gru"])
@pytest.mark.parametrize("readout", ["sigmoid", {"kind": "soup", "temperature": True}], ids=str)
def test_models_train_what_readouts_add(readout: Axis, recurrence: str) -> None:
    model, rng = model_of(readout, recurrence), np.random.default_rng(0)
    words, labels = rng.integers(0, 12, (2, 10)), rng.integers(-1, 12, (2, 10))

    def forward(params: dict[str, Array]) -> tuple[Array, Any]:
        model.params = params
        loss, saved = model.loss(words, labels)
        return np.array(loss.value), saved

    def backward(saved: Any, d_value: Array) -> dict[str, Array]:
        return {name: d_value * g for name, g in model.loss_backward(saved).items()}

    added = {name.rsplit(".", 1)[1] for name in model.params} & {"gate_bias", "temperature"}
    assert added == {"gate_bias" if readout == "sigmoid" else "temperature"}
    check_inputs(forward, backward, model.params, tolerance=1e-5)


def test_a_fresh_sigmoid_model_is_near_the_plain_one() -> None:
    tokens = np.random.default_rng(0).integers(0, 12, (2, 12))
    gated, plain = model_of("sigmoid"), model_of("none")
    assert set(plain.params) < set(gated.params)
    for name in plain.params:
        plain.params[name][...] = gated.params[name]
    wanted = plain.forward(tokens)[0]
    moved = np.linalg.norm(gated.forward(tokens)[0] - wanted) / np.linalg.norm(wanted)
    assert 0 < moved < 0.1


def test_shared_u_costs_no_parameters() -> None:
    shared, plain = model_of({"kind": "grm", "u": "shared"}), model_of("none")
    assert {n: x.shape for n, x in shared.params.items()} == {
        n: x.shape for n, x in plain.params.items()
    }


@every_backend
def test_detached_gradients_are_those_of_a_constant_cache(backend: str) -> None:
    """They differ from the undetached ones, and y does not."""
    example = example_of({"kind": "grm", "detach": True})
    plain = Example(change(example.composition, "readout", "grm"), SIZES, seed=3)
    detached, attached = (answer(maker(backend)(e.composition), e) for e in (example, plain))
    assert_agree(detached["y"], attached["y"], SAME, "y")
    assert np.abs(detached["v"] - attached["v"]).max() > 1e-3
