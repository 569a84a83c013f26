"""Perceptrons as memories: the activation, descent, chunks, and what a read depends on."""

import math
from typing import Any

import numpy as np
import pytest
from harness import BACKENDS, maker
from tolerances import tolerance

import mcore
from mcore.arrays import Array
from mcore.axes import make_recurrence
from mcore.errors import SpecError
from mcore.model.gate import POINTWISE
from mcore.recurrence import RULES, Dims
from mcore.recurrence.gelu import erf, gelu
from mcore.recurrence.mlp_memory import MlpMemory
from mcore.testing.agreement import assert_agree, change
from mcore.testing.gradcheck import check_inputs
from mcore.testing.samples import sample_normal
from mcore.testing.strategies import Axis, Composition, Example, Sizes

KINDS = [kind for kind, rule in RULES.items() if rule.family == "deep"]
CHUNKED: Axis = {"kind": "titans", "chunk": 3}
IN_CHUNKS: list[Axis] = [{"kind": kind, "chunk": 3} for kind in ("dla", "titans", "yaad")]
DIMS = Dims(B=2, T=1, H=2, K=4, V=4, E=6)
PLAIN: Composition = {
    "recurrence": "titans",
    "segmentation": "none",
    "readout": "none",
    "start": "independent",
}


def deep(choice: Axis) -> MlpMemory:
    rule = make_recurrence(choice)
    assert isinstance(rule, MlpMemory)
    return rule


def one_pair(rule: MlpMemory, seed: int = 0) -> tuple[Array, dict[str, Array]]:
    """A memory at its start, and a token with a unit key; nothing is forgotten."""
    rng = np.random.default_rng(seed)
    k = rng.standard_normal((2, 2, 4))
    x = {"k": k / np.linalg.norm(k, axis=-1, keepdims=True), "v": rng.standard_normal((2, 2, 4))}
    for name in rule.inputs:
        if rule.inputs[name] == "B T H":
            x[name] = np.full((2, 2), {"step": 0.05, "log_decay": 0.0, "delta": 1.0}.get(name, 0.2))
    weights = {"w_in": rng.standard_normal((2, 4, 6)) / 2, "w_out": rng.standard_normal((2, 6, 4))}
    start = rule.initial(weights, DIMS).reshape(2, *rule.state_shape(DIMS))
    return np.broadcast_to(start, (2, *start.shape)).copy(), x | weights


def minus_dot(answer: Array, x: dict[str, Array]) -> Array:
    return np.asarray(-(answer * x["v"]).sum(axis=-1))


def square(answer: Array, x: dict[str, Array]) -> Array:
    return np.asarray(((answer - x["v"]) ** 2).sum(axis=-1) / 2)


def huber(answer: Array, x: dict[str, Array]) -> Array:
    r, delta = np.linalg.norm(answer - x["v"], axis=-1), x["delta"]
    return np.asarray(np.where(r <= delta, r**2 / 2, delta * (r - delta / 2)))


def cubic(answer: Array, x: dict[str, Array]) -> Array:
    return np.asarray((np.abs(answer - x["v"]) ** 3).sum(axis=-1))


LOSSES = {
    "dla": minus_dot,
    "titans": square,
    "yaad": huber,
    "moneta": cubic,
    "memora": square,
}


@pytest.mark.parametrize("kind", KINDS)
def test_writing_a_pair_again_lowers_its_loss(kind: str) -> None:
    """Descent, not ascent, at every step and in every head."""
    rule = deep(kind)
    state, x = one_pair(rule)
    losses = [LOSSES[kind](rule.read(state, x["k"]), x)]
    for _ in range(12):
        state = rule.step(state, x)
        losses.append(LOSSES[kind](rule.read(state, x["k"]), x))
    assert (np.diff(losses, axis=0) < 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_inner_gradient_is_that_of_the_loss(kind: str) -> None:
    """Along a random direction the loss changes as `descent` says."""
    rule = deep(kind)
    state, x = one_pair(rule)
    weights = state[..., : 2 * DIMS.K, :]
    gradient, _ = rule.descent(weights, x)
    v = np.random.default_rng(1).standard_normal(weights.shape)

    def along(h: float) -> Array:
        moved = np.concatenate([weights + h * v, state[..., 2 * DIMS.K :, :]], axis=-2)
        return np.asarray(LOSSES[kind](rule.read(moved, x["k"]), x))

    slope = (along(1e-5) - along(-1e-5)) / 2e-5
    assert_agree((gradient * v).sum(axis=(-2, -1)), slope, 1e-8, "slope")


@pytest.mark.parametrize("kind", KINDS)
def test_the_read_depends_on_the_query_not_linearly(kind: str) -> None:
    rule = deep(kind)
    state, x = one_pair(rule)
    q = sample_normal((2, 2, 4), 3)
    assert np.abs(rule.read(state, q) - rule.read(state, x["k"])).min() > 1e-3
    assert np.abs(rule.read(state, 2 * q) - 2 * rule.read(state, q)).max() > 1e-3


WIDE = Dims(B=64, T=4, H=2, K=16, V=16, E=32)


def at_the_start(rule: MlpMemory) -> tuple[Array, dict[str, Array]]:
    """A layer's memory before training, and four tokens with the gates that zero logits give."""
    rng = np.random.default_rng(0)
    shapes = {"w_in": (2, 16, 32), "w_out": (2, 32, 16)}
    laws: Any = rule.features
    x = {name: laws[name].start(rng, shape) for name, shape in shapes.items()}
    for name in (name for name, axes in rule.inputs.items() if axes == "B T H"):
        law = laws[name].sized({"E": WIDE.E})
        bias = law.bias(rng, (2, 1)).mean() if law.bias else 0.0
        made = POINTWISE[law.law][0](np.full((64, 2), bias))[0]
        x[name] = law.largest * made
    for name in ("k", "v"):
        vectors = rng.standard_normal((4, 64, 2, 16))
        x[name] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    start = rule.initial(x, WIDE).reshape(2, *rule.state_shape(WIDE))
    return np.broadcast_to(start, (64, *start.shape)).copy(), x


def token(x: dict[str, Array], t: int) -> dict[str, Array]:
    return x | {"k": x["k"][t], "v": x["v"][t], "position": np.full((64, 1), t)}


@pytest.mark.parametrize("kind", KINDS)
def test_layers_start_from_a_perceptron_that_is_not_degenerate(kind: str) -> None:
    """It is trained, tells keys apart and does not say more than the x that it adds.

    A mean of the channels of a unit key is about K^-1/2 = 0.25.
    """
    rule = deep(kind)
    assert all(getattr(rule.features[name], "trained", False) for name in ("w_in", "w_out"))
    state, x = at_the_start(rule)
    w_in = state[..., :16, :]
    hidden = np.einsum("bhke,tbhk->tbhe", w_in, x["k"])
    assert 0.15 < hidden.std() < 1.1
    said = np.linalg.norm(rule.read(state, x["k"]) - x["k"], axis=-1)
    assert 0 < said.mean() < 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_a_layers_first_tokens_are_remembered(kind: str) -> None:
    """Each token lowers its loss; after four, a query brings back more of its own value than of
    others, so that the read depends on the query."""
    rule = deep(kind)
    first, x = at_the_start(rule)
    state = first
    for t in range(4):
        now = token(x, t)
        after = rule.step(state, now)
        assert LOSSES[kind](rule.read(after, now["k"]), now).mean() < (
            LOSSES[kind](rule.read(state, now["k"]), now).mean() - FALLS[kind]
        )
        state = after
    moved = rule.read(state, x["k"]) - rule.read(first, x["k"])
    likeness = np.einsum("tbhv,sbhv->ts", moved, x["v"]) / (64 * 2)
    own = np.diag(likeness)
    others = (likeness - np.diag(own)).sum(axis=0) / 3
    assert (own > 2 * others).all()


FALLS = {"dla": 0.5, "titans": 0.1, "yaad": 0.1, "moneta": 0.005, "memora": 0.005}
"""Nats do not matter here: half of one is the square of a unit error."""


@pytest.mark.parametrize("choice", [*KINDS, *IN_CHUNKS], ids=str)
def test_initial_backward(choice: Axis) -> None:
    rule = deep(choice)
    names = ("w_in", "w_out")
    inputs = {name: sample_normal(shape, 4) for name, shape in zip(names, SHAPES, strict=True)}

    def forward(weights: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        return rule.initial(weights, DIMS).reshape(2, *rule.state_shape(DIMS)), weights

    def backward(saved: dict[str, Array], d_initial: Array) -> dict[str, Array]:
        return rule.initial_backward(saved, np.stack([0.25 * d_initial, 0.75 * d_initial]))

    check_inputs(forward, backward, inputs)


SHAPES = ((2, 4, 6), (2, 6, 4))


@pytest.mark.parametrize("choice", IN_CHUNKS, ids=str)
@pytest.mark.parametrize("position", [0, 1, 5, 6])
def test_step_backward_inside_a_chunk(position: int, choice: Axis) -> None:
    rule = deep(choice)
    state, x = one_pair(rule)
    inputs = {name: value for name, value in x.items() if name not in ("w_in", "w_out")}
    inputs["state"] = state + 0.3 * sample_normal(state.shape, 5)
    place = np.full((2, 1), position)

    def forward(given: dict[str, Array]) -> tuple[Array, Any]:
        return rule.step(given["state"], {**given, "position": place}), given

    def backward(given: Any, d_state: Array) -> dict[str, Array]:
        token = {**given, "position": place}
        d_before, gradients = rule.step_backward(given["state"], token, d_state)
        return {**gradients, "state": d_before}

    check_inputs(forward, backward, inputs)


def test_huber_is_square_inside_delta_and_bounded_outside() -> None:
    rule = deep("yaad")
    state, x = one_pair(rule)
    weights, square_rule = state[..., : 2 * DIMS.K, :], deep("titans")
    inside, _ = rule.descent(weights, x | {"delta": np.full((2, 2), 1e3)})
    np.testing.assert_array_equal(inside, square_rule.descent(weights, x)[0])
    answer = rule.read(state, x["k"])
    force = np.linalg.norm(rule.error(answer, x | {"delta": np.full((2, 2), 0.1)}), axis=-1)
    np.testing.assert_allclose(force, 0.1, rtol=1e-12)
    exact = x | {"v": answer}
    assert not rule.error(answer, exact).any()
    d_answer, _ = rule.error_backward(answer, exact, np.ones_like(answer))
    np.testing.assert_array_equal(d_answer, np.ones_like(answer))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["dla", "titans", "yaad"])
def test_a_chunk_changes_the_function_and_one_token_is_the_exact_rule(
    kind: str, backend: str
) -> None:
    example = Example(change(PLAIN, "recurrence", kind), Sizes(B=2, T=9, H=2, K=4, V=4), seed=0)
    exact, one, three = (
        maker(backend)(change(PLAIN, "recurrence", rule)).forward(example.inputs)[0]
        for rule in (kind, {"kind": kind, "chunk": 1}, {"kind": kind, "chunk": 3})
    )
    np.testing.assert_array_equal(exact, one)
    assert_agree(three[:, 0], exact[:, 0], tolerance("float64", "same"), "first token")
    assert np.abs(exact[:, 1:] - three[:, 1:]).max() > 1e-3


@pytest.mark.parametrize("start", ["independent", "checkpoint"])
def test_chunks_are_counted_from_the_segments_start(start: str) -> None:
    """Segments of one token: each token's gradient is exact, whatever the chunk."""
    cut = {**PLAIN, "segmentation": {"kind": "constant", "length": 1}, "start": start}
    composition: Composition = {**PLAIN, **cut}  # type: ignore[typeddict-item]
    example = Example(composition, Sizes(B=1, T=7, H=2, K=3, V=3), seed=1)
    exact = maker("reference")(composition).forward(example.inputs)[0]
    chunked = maker("reference")(change(composition, "recurrence", CHUNKED))
    np.testing.assert_array_equal(chunked.forward(example.inputs)[0], exact)


@pytest.mark.parametrize("kind", KINDS)
def test_plans_say_that_perceptrons_run_in_kernels(kind: str) -> None:
    memory = {"recurrence": kind, "segmentation": "constant", "readout": "soup"}
    forms = mcore.plan({"memory": memory, "backend": "numba"}).forms
    assert {f"{kind}.{op}: fast kernel" for op in ("scan", "soup", "route")} <= set(forms)


def test_mirrored_perceptrons_have_no_chunks() -> None:
    for kind in ("moneta", "memora"):
        with pytest.raises(SpecError, match="chunk"):
            make_recurrence({"kind": kind, "chunk": 2})


@pytest.mark.parametrize("option", ["chunk", "expansion"])
def test_options_are_at_least_one(option: str) -> None:
    with pytest.raises(SpecError, match=f"recurrence.{option}: 0"):
        make_recurrence({"kind": "titans", option: 0})


@pytest.mark.parametrize("scale", [1e-3, 0.4, 1.0, 4.0, 50.0])
def test_erf_is_exact(scale: float) -> None:
    x = scale * np.random.default_rng(0).standard_normal(2000)
    np.testing.assert_allclose(erf(x), [math.erf(t) for t in x], rtol=4e-15, atol=3e-16)
    narrow = erf(x.astype(np.float32))
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, erf(x), atol=5e-7)


def test_erf_at_its_borders() -> None:
    x = np.array([0.0, -0.0, 0.46875, -4.0, 4.0, 6.0, -np.inf, np.inf])
    np.testing.assert_allclose(erf(x), [math.erf(t) for t in x], rtol=4e-16)
    assert np.isnan(erf(np.array([np.nan]))).all()


def test_derivatives_of_gelu() -> None:
    x, h = np.linspace(-5, 5, 41), 1e-5
    up, down = gelu(x + h), gelu(x - h)
    np.testing.assert_allclose(gelu(x).slope, (up.value - down.value) / (2 * h), atol=1e-9)
    np.testing.assert_allclose(gelu(x).curvature, (up.slope - down.slope) / (2 * h), atol=1e-9)
