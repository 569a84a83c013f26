"""AdamW, the schedule and the clip against their formulas."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcore.errors import SnapshotError
from mcore.training.clip import clip_scale, global_norm
from mcore.training.finite import first_nonfinite
from mcore.training.optim import AdamW
from mcore.training.schedule import learning_rate

Arrays = dict[str, np.ndarray]
BETAS, EPS, DECAY = (0.8, 0.95), 1e-8, 0.1


def _params(dtype: str = "float64") -> Arrays:
    rng = np.random.default_rng(0)
    shapes = {"big": (300, 251), "odd": (7,), "scalar": (), "norm": (3,)}
    return {name: np.asarray(rng.standard_normal(s), dtype) for name, s in shapes.items()}


def _grads(params: Arrays, step: int) -> Arrays:
    rng = np.random.default_rng(step)
    return {n: np.asarray(rng.standard_normal(p.shape), p.dtype) for n, p in params.items()}


def _adamw(params: Arrays) -> AdamW:
    return AdamW(params, {"norm"}, betas=BETAS, eps=EPS, weight_decay=DECAY)


def _expected(params: Arrays, rates: list[float], scale: float) -> Arrays:
    m = {name: np.zeros_like(p) for name, p in params.items()}
    v = {name: np.zeros_like(p) for name, p in params.items()}
    p = {name: array.copy() for name, array in params.items()}
    for n, rate in enumerate(rates, 1):
        for name, grad in _grads(params, n).items():
            g = scale * grad
            m[name] = BETAS[0] * m[name] + (1 - BETAS[0]) * g
            v[name] = BETAS[1] * v[name] + (1 - BETAS[1]) * g**2
            up, down = m[name] / (1 - BETAS[0] ** n), v[name] / (1 - BETAS[1] ** n)
            decay = 0.0 if name == "norm" else DECAY
            p[name] = p[name] - rate * decay * p[name] - rate * up / (np.sqrt(down) + EPS)
    return p


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float32", 3e-5)])
def test_adamw_is_its_formula(dtype: str, rtol: float) -> None:
    params, rates = _params(dtype), [0.1, 0.01, 0.3]
    expected, held = _expected(_params(dtype), rates, 0.5), dict(params)
    optimizer = _adamw(params)
    for n, rate in enumerate(rates, 1):
        grads = _grads(params, n)
        optimizer.update(grads, rate, 0.5)
        for name, grad in _grads(params, n).items():
            np.testing.assert_array_equal(grads[name], grad)
    for name, p in params.items():
        assert p is held[name]
        np.testing.assert_allclose(p, expected[name], rtol=rtol, atol=rtol)


def test_adamw_restored_goes_on_with_the_same_bits() -> None:
    straight, broken = _params("float32"), _params("float32")
    a, b = _adamw(straight), _adamw(broken)
    for n in (1, 2):
        a.update(_grads(straight, n), 0.1)
    b.update(_grads(broken, 1), 0.1)
    again = _adamw(broken)
    again.restore({name: array.copy() for name, array in b.state().items()}, 1)
    again.update(_grads(broken, 2), 0.1)
    for name in straight:
        assert straight[name].tobytes() == broken[name].tobytes()
    with pytest.raises(SnapshotError):
        again.restore({"m/odd": np.zeros(7)}, 1)


def test_adamw_refuses_scattered_parameters() -> None:
    with pytest.raises(ValueError, match="contiguous: t"):
        _adamw({"t": np.ones((3, 2)).T})


@given(
    st.integers(1, 300),
    st.one_of(st.integers(0, 300), st.floats(0, 1)),
    st.floats(0, 1),
)
def test_schedule_rises_then_falls(steps: int, warmup: int | float, floor: float) -> None:
    warm = min(warmup, steps) if isinstance(warmup, int) else round(warmup * steps)
    rates = [learning_rate(n, steps, 2.0, warm, floor) for n in range(1, steps + 1)]
    assert all(0 <= rate <= 2.0 + 1e-12 for rate in rates)
    assert all(a < b for a, b in itertools.pairwise(rates[:warm]))
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(rates[warm:]))
    assert rates[-1] == pytest.approx(2.0 if warm == steps else 2.0 * floor, abs=1e-12)
    if warm:
        assert rates[warm - 1] == 2.0
        assert rates[0] == pytest.approx(2.0 / warm)


def test_schedule_by_hand() -> None:
    rates = [learning_rate(n, 10, 1.0, 2, 0.2) for n in (1, 2, 6, 10)]
    assert rates == pytest.approx([0.5, 1.0, 0.6, 0.2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_global_norm(dtype: str) -> None:
    params = _params(dtype)
    everything = np.concatenate([p.reshape(-1) for p in params.values()]).astype(np.float64)
    norm = float(global_norm(params))
    assert norm == pytest.approx(float(np.linalg.norm(everything)), rel=1e-12)
    scale = clip_scale(norm, 1.0)
    assert global_norm({n: p * scale for n, p in params.items()}) == pytest.approx(1.0, rel=1e-6)
    assert clip_scale(0.5, 1.0) == clip_scale(0.0, 1.0) == clip_scale(5.0, 0.0) == 1.0


def test_norm_of_large_float32_gradients_does_not_overflow() -> None:
    big = {"a": np.full(9000, 1e30, np.float32)}
    assert global_norm(big) == pytest.approx(1e30 * math.sqrt(9000), rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nonfinite_is_found_and_named(bad: float) -> None:
    arrays = {"a": np.ones(3), "b": np.array([1.0, bad]), "c": np.array(bad)}
    assert first_nonfinite(arrays) == "b"
    assert first_nonfinite({"a": np.ones(3)}) is None
    assert not np.isfinite(global_norm(arrays))
