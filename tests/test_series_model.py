"""Models of series: gradients, streams, causality, units, missing values, snapshots, errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import BACKENDS
from hypothesis import given
from hypothesis import strategies as st

import mcore
from mcore.arrays import Array
from mcore.errors import InputError, ShapeError
from mcore.model import Model
from mcore.model.blame import blame
from mcore.testing.gradcheck import check_inputs

C, T = 3, 11
COLUMNS = ["a", "b", "c"]
HEADS: dict[str, dict[str, Any]] = {
    "forecast": {"target": ["c", "a"], "horizon": 2},
    "huber": {"target": ["b"], "loss": "huber"},
    "classify": {"head": "classify", "classes": ["x", "y", "z"]},
    "last": {"head": "classify", "classes": ["x", "y"], "pool": "last"},
    "regress": {"head": "regress", "loss": "mae"},
}


def model_of(head: str, **changes: Any) -> Model:
    """Two narrow blocks with statistics that are not 0 and 1."""
    spec = {
        "model": {"width": 12, "depth": 2, "heads": 2, "key": 4, "value": 3, "mlp": 1.0},
        "memory": {
            "recurrence": "gated_delta",
            "segmentation": {"kind": "constant", "length": 4},
            "readout": "grm",
        },
        "data": {"task": "series", "columns": COLUMNS, "length": T, **HEADS[head]},
        "backend": "reference",
        "dtype": "float64",
    }
    model = mcore.compile(spec | changes)
    rng = np.random.default_rng(1)
    model.standardise({name: rng.uniform(0.5, 2, x.shape) for name, x in model.fixed.items()})
    return model


def batch(model: Model, seed: int = 0) -> tuple[Array, Array]:
    """Rows of 1 + noise with two missing values, and labels that are partly missing."""
    rng = np.random.default_rng(seed)
    x = 1 + rng.standard_normal((2, T, C))
    x[0, 3, 1] = x[1, 0, 2] = np.nan
    if model.spec.data.head == "classify":  # type: ignore[union-attr]
        return x, rng.integers(-1, model.outputs, (2, T))
    labels = rng.standard_normal((2, T, model.outputs))
    labels[0, :2] = np.nan
    return x, labels


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("head", HEADS)
def test_every_gradient_of_the_loss(head: str, backend: str) -> None:
    model = model_of(head, backend=backend)
    x, labels = batch(model)

    def forward(params: dict[str, Array]) -> tuple[Array, Any]:
        model.params = params
        loss, saved = model.loss(x, labels)
        return np.array(loss.value), saved

    def backward(saved: Any, d_value: Array) -> dict[str, Array]:
        return {name: d_value * g for name, g in model.loss_backward(saved).items()}

    check_inputs(forward, backward, model.params, tolerance=1e-5)


@pytest.mark.parametrize("head", ["forecast", "classify", "last", "regress"])
def test_every_gradient_of_the_outputs(head: str) -> None:
    model = model_of(head)
    x, _ = batch(model)

    def forward(params: dict[str, Array]) -> tuple[Array, Any]:
        model.params = params
        return model.forward(x)

    check_inputs(forward, model.backward, model.params, tolerance=1e-5)


def test_loss_is_of_the_outputs() -> None:
    model = model_of("forecast")
    x, labels = batch(model)
    outputs, _ = model.forward(x)
    error = ((outputs - labels) / model.fixed["head.std"]) ** 2
    assert model.loss(x, labels)[0].value == pytest.approx(np.nanmean(error), rel=1e-12)


@given(cuts=st.sets(st.integers(1, T - 1)), head=st.sampled_from([*HEADS]))
def test_session_equals_forward_however_it_is_fed(cuts: set[int], head: str) -> None:
    model = model_of(head)
    x, _ = batch(model)
    whole, _ = model.forward(x)
    session, alone = model.session(), model.session()
    ends = [*sorted(cuts), T]
    spans = list(zip([0, *ends], ends, strict=False))
    pieces = [session.feed(x[:, a:b]) for a, b in spans]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, rtol=1e-11, atol=1e-12)
    row = np.concatenate([alone.feed(x[1, a:b]) for a, b in spans])
    assert row.shape == (T, model.outputs)
    np.testing.assert_allclose(row, whole[1], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("head", HEADS)
def test_causality(head: str) -> None:
    model = model_of(head)
    x, _ = batch(model)
    before, _ = model.forward(x)
    changed = x.copy()
    changed[:, 7:] += 1
    after, _ = model.forward(changed)
    np.testing.assert_array_equal(before[:, :7], after[:, :7])
    assert not np.array_equal(before[:, 7:], after[:, 7:])


@pytest.mark.parametrize("head", HEADS)
def test_around_blocks_that_add_nothing(head: str) -> None:
    """What stands before and after the blocks, against the formula."""
    model = model_of(head)
    x, _ = batch(model)
    for name, value in model.params.items():
        if name.endswith(("out.weight", "down.weight")):
            value[...] = 0
    p, fixed = model.params, model.fixed
    z = np.nan_to_num((x - fixed["input.mean"]) / fixed["input.std"])
    h = z @ p["input.weight"] + p["input.bias"]
    h = h / np.sqrt((h**2).mean(axis=-1, keepdims=True) + 1e-6) * p["final.weight"]
    if head in ("classify", "regress"):
        h = np.cumsum(h, axis=1) / np.arange(1, T + 1)[:, None]
    wanted = h @ p["head.weight"] + p["head.bias"]
    if "head.std" in fixed:
        wanted = wanted * fixed["head.std"] + fixed["head.mean"]
    places = {"forecast": [2, 0, 2, 0], "huber": [1]}.get(head)
    if places is not None:
        wanted = wanted + np.where(np.isnan(x), fixed["input.mean"], x)[..., places]
    np.testing.assert_allclose(model.forward(x)[0], wanted, rtol=1e-9, atol=1e-9)


def test_a_forecast_is_in_the_units_of_the_data() -> None:
    model = model_of("forecast")
    x, _ = batch(model)
    for name in ("head.weight", "head.bias"):
        model.params[name][...] = 0
    outputs, _ = model.forward(x)
    last = np.where(np.isnan(x), model.fixed["input.mean"], x)[..., [2, 0, 2, 0]]
    np.testing.assert_allclose(outputs, last + model.fixed["head.mean"], rtol=1e-12)


def test_units_change_nothing_but_the_units() -> None:
    model = model_of("forecast")
    x, _ = batch(model)
    outputs, _ = model.forward(x)
    scaled = {name: 8 * value for name, value in model.fixed.items()}
    model.standardise(scaled)
    np.testing.assert_allclose(model.forward(8 * x)[0], 8 * outputs, rtol=1e-12)


def test_a_missing_value_is_the_mean() -> None:
    model = model_of("classify")
    x, _ = batch(model)
    filled = np.where(np.isnan(x), model.fixed["input.mean"], x)
    np.testing.assert_allclose(model.forward(x)[0], model.forward(filled)[0], rtol=1e-12)


def test_threads_share_the_rows() -> None:
    one = model_of("forecast", backend={"kind": "numba", "threads": 1})
    two = model_of("forecast", backend={"kind": "numba", "threads": 2})
    x, labels = batch(one)
    (loss, saved), (other, shards) = one.loss(x, labels), two.loss(x, labels)
    assert loss.value == pytest.approx(other.value, rel=1e-12)
    gradients = two.loss_backward(shards)
    for name, gradient in one.loss_backward(saved).items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("head", ["forecast", "classify"])
def test_rows_go_on_from_the_state_of_a_loss(head: str) -> None:
    model = model_of(head)
    x, labels = batch(model)
    _, saved = model.loss(x[:, :5], labels[:, :5])
    loss, _ = model.loss(x[:, 5:], labels[:, 5:], model.end(saved))
    only = labels.copy()
    only[:, :5] = -1 if only.ndim == 2 else np.nan
    assert loss.value == pytest.approx(model.loss(x, only)[0].value, rel=1e-12)


def test_a_snapshot_keeps_the_statistics(tmp_path: Path) -> None:
    model = model_of("regress")
    x, _ = batch(model)
    model.save(tmp_path / "model.safetensors")
    loaded = mcore.load(tmp_path / "model.safetensors")
    assert loaded.channels == C
    np.testing.assert_array_equal(loaded.forward(x)[0], model.forward(x)[0])


def test_a_stream_goes_on_from_a_file(tmp_path: Path) -> None:
    model = model_of("classify")
    x, _ = batch(model)
    session = model.session()
    session.feed(x[:, :5])
    session.save(tmp_path / "stream.safetensors")
    restored = model.session()
    restored.restore(tmp_path / "stream.safetensors")
    np.testing.assert_array_equal(restored.feed(x[:, 5:]), session.feed(x[:, 5:]))


def test_models_of_tokens_have_no_channels() -> None:
    model = mcore.compile({"model": {"width": 8, "heads": 2, "depth": 1}, "backend": "reference"})
    assert model.channels is None
    assert model.outputs == model.vocab
    assert model.arrays == model.params


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.zeros((2, T)), ShapeError, r"series: shape \(2, 11\), expected \(B, T, 3\)"),
        (np.zeros((2, T, 2)), ShapeError, r"expected \(B, T, 3\)"),
        (np.zeros((2, 0, C)), ShapeError, "with T at least 1"),
        (np.zeros((2, T, C), complex), InputError, "complex128, expected real numbers"),
        (np.full((2, T, C), -np.inf), InputError, "-inf at row 0, token 0, channel 0; NaN marks"),
    ],
)
def test_data_that_cannot_be_used(x: Array, error: type[Exception], words: str) -> None:
    model = model_of("forecast")
    for call in (model.forward, model.step):
        with pytest.raises(error, match=words):
            call(x)


def test_labels_that_do_not_fit() -> None:
    x, labels = batch(model_of("forecast"))
    with pytest.raises(ShapeError, match=r"expected \(B, T, O\) \(2, 11, 4\)"):
        model_of("forecast").loss(x, labels[..., :2])
    with pytest.raises(ShapeError, match=r"labels: shape \(2, 11, 4\), expected \(B, T\)"):
        model_of("classify").loss(x, labels)


def test_pooled_heads_refuse_documents() -> None:
    x, _ = batch(model_of("classify"))
    with pytest.raises(InputError, match="one mean a row"):
        model_of("classify").forward(x, document=np.zeros((2, T), int))


@pytest.mark.parametrize("head", ["forecast", "last"])
def test_packed_rows_equal_separate_ones(head: str) -> None:
    model = model_of(head)
    x, _ = batch(model)
    ids = np.repeat([[0, 1]], 2, axis=0).repeat([5, T - 5], axis=1)
    packed, _ = model.forward(x, document=ids)
    parts = [model.forward(x[:, :5])[0], model.forward(x[:, 5:])[0]]
    np.testing.assert_allclose(packed, np.concatenate(parts, axis=1), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("input.std", [1, 0, 1], "0 or less"),
        ("input.mean", [1, np.nan, 1], "not finite"),
        ("input.mean", [1], r"shape \(1,\), expected \(3,\)"),
        ("input.median", [1], "expected"),
    ],
)
def test_statistics_that_cannot_be(name: str, value: list[float], words: str) -> None:
    model = model_of("classify")
    before = {key: x.copy() for key, x in model.fixed.items()}
    with pytest.raises(InputError, match=words):
        model.standardise({**model.fixed, name: np.array(value)})
    for key, x in before.items():
        np.testing.assert_array_equal(model.fixed[key], x)


@pytest.mark.parametrize("head", HEADS)
def test_a_place_that_is_not_finite_is_named(head: str) -> None:
    model = model_of(head)
    x, labels = batch(model)
    assert blame(model, x, labels) is None
    model.params["head.bias"][0] = np.inf
    assert str(blame(model, x, labels)).startswith("head.bias: the parameter is inf")
    model.params["head.bias"][0] = 0
    model.params["input.weight"][0, 0] = np.nan
    assert str(blame(model, x, labels)).startswith("input.weight: the parameter is nan")
