"""Fast routing and attention against the reference."""

from typing import Any

import numpy as np
import pytest
from numba_cases import (
    CASES,
    DTYPES,
    FAST,
    REFERENCE,
    SERIAL,
    WIDE,
    Case,
    assert_same,
    cuts,
    double,
    normal,
)

from mcore.router import Pool, Router

ROUTERS = {
    "all": Router(),
    "best": Router(top_k=1),
    "two best": Router(top_k=2),
    "sums": Router(top_k=2, pool="sum"),
    "online outside": Router(online="outside"),
    "by lot": Router(top_k=2, seed=3),
    "detached": Router(detach=True),
    "all options": Router(top_k=1, pool="sum", online="outside", seed=2**31, detach=True),
}


def routing(case: Case, dtype: str, rng: np.random.Generator) -> tuple[Any, ...]:
    """u, keys, pool, and gradients of what `route` returns."""
    segments, wide = cuts(case), (case.rows, case.tokens, case.heads, case.keys)
    pooled = normal(rng, dtype, case.rows, case.cached, case.heads, case.keys)
    before = normal(rng, dtype, case.rows, case.heads, case.keys)
    before[segments.offset == 0] = 0
    d_gates = normal(rng, dtype, *wide[:3], segments.columns + 1)
    d_contexts = normal(rng, dtype, case.rows, segments.count, case.heads, case.keys)
    pool = Pool(pooled, before)
    return normal(rng, dtype, *wide), normal(rng, dtype, *wide), pool, (d_gates, d_contexts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("router", ROUTERS.values(), ids=ROUTERS.keys())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_route_is_the_reference(case: Case, router: Router, dtype: str) -> None:
    u, keys, pool, d = routing(case, dtype, np.random.default_rng(0))
    segments = cuts(case)
    got, saved = FAST.route(u, keys, segments, router, pool)
    want, kept = REFERENCE.route(double(u), double(keys), segments, router, double(pool))
    for name, x in want._asdict().items():
        assert_same(getattr(got, name), x, dtype, name)
    assert ((got.gates == 0) == (want.gates == 0)).all()
    du, dk, d_pool = FAST.route_backward(saved, *d)
    want_du, want_dk, want_pool = REFERENCE.route_backward(kept, *double(d))
    found = {"u": (du, want_du), "keys": (dk, want_dk)}
    found |= {name: (getattr(d_pool, name), x) for name, x in want_pool._asdict().items()}
    for name, (x, wanted) in found.items():
        assert_same(x, wanted, dtype, name)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_online_outside_has_gate_one_and_the_rest_share_one(case: Case) -> None:
    u, keys, pool, _ = routing(case, "float64", np.random.default_rng(0))
    segments = cuts(case)
    gates = FAST.route(u, keys, segments, Router(online="outside"), pool)[0].gates
    assert (gates[..., -1] == 1).all()
    seen = segments.visible.sum(axis=-1, keepdims=True) > 0
    np.testing.assert_allclose(gates[..., :-1].sum(axis=-1), seen + 0 * gates[..., -1], atol=1e-12)


@pytest.mark.parametrize("backend", [REFERENCE, FAST])
def test_lots_look_at_no_content(backend: Any) -> None:
    """Other contents, the same choice; every checkpoint has its turn, and heads differ."""
    case = Case(2, 120, 2, 4, 4, {"kind": "constant", "length": 8})
    found = []
    for seed in (0, 1):
        u, keys, pool, _ = routing(case, "float64", np.random.default_rng(seed))
        routes, _ = backend.route(u, keys, cuts(case), Router(top_k=2, seed=9), pool)
        found.append(routes.gates[..., :-1] > 0)
    np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(found[0][0], found[0][1])
    chosen = found[0][0, 60:].mean(axis=0)
    assert (chosen[:, :7] > 0).all() and (chosen < 0.6).all()
    assert (found[0][0, :, 0] != found[0][0, :, 1]).any()


def test_ties_go_to_the_lower_index() -> None:
    case = CASES["short last segment"]
    u, keys, pool, _ = routing(case, "float64", np.random.default_rng(0))
    same = np.broadcast_to(keys[:, :1], keys.shape)
    for top_k in (1, 2):
        got, _ = FAST.route(u, same, cuts(case), Router(top_k), pool)
        want, _ = REFERENCE.route(u, same, cuts(case), Router(top_k), pool)
        np.testing.assert_allclose(got.gates, want.gates, atol=1e-15)


ATTENTION = {
    "one token": ((1, 1, 1, 1, 1, 1), None),
    "narrow window": ((2, 70, 2, 5, 3, 70), 2),
    "several blocks": ((2, 150, 2, 8, 20, 150), None),
    "continued in a window": ((1, 150, 2, 16, 16, 190), 37),
    "one query, many keys": ((2, 1, 2, 8, 8, 90), None),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "window"), ATTENTION.values(), ids=ATTENTION.keys())
def test_attention_is_the_reference(sizes: Any, window: int | None, dtype: str) -> None:
    rng, (rows, tokens, heads, keys, values, memory) = np.random.default_rng(0), sizes
    q = 3 * normal(rng, dtype, rows, tokens, heads, keys)
    k, v = (normal(rng, dtype, rows, memory, heads, width) for width in (keys, values))
    y, saved = FAST.attention(q, k, v, window)
    want, kept = REFERENCE.attention(double(q), double(k), double(v), window)
    assert_same(y, want, dtype, "y")
    dy = normal(rng, dtype, *y.shape)
    gradients = FAST.attention_backward(saved, dy)
    wanted = REFERENCE.attention_backward(kept, double(dy))
    for name, got, best in zip("qkv", gradients, wanted, strict=True):
        assert_same(got, best, dtype, name)


def test_window_of_one_token_returns_its_value() -> None:
    rng = np.random.default_rng(0)
    q, k, v, dy = (normal(rng, "float64", 1, 66, 2, 8) for _ in range(4))
    y, saved = FAST.attention(q, k, v, 1)
    np.testing.assert_allclose(y, v, rtol=1e-14)
    dq, dk, dv = FAST.attention_backward(saved, dy)
    np.testing.assert_allclose(dv, dy, rtol=1e-14)
    assert max(np.abs(dq).max(), np.abs(dk).max()) < 1e-12


def test_bits_do_not_depend_on_threads() -> None:
    case, rng = WIDE, np.random.default_rng(0)
    u, keys, pool, d = routing(case, "float32", rng)
    v = normal(rng, "float32", *u.shape)
    found = []
    for backend in (SERIAL, FAST):
        routes, saved = backend.route(u, keys, cuts(case), Router(), pool)
        y, kept = backend.attention(u, keys, v, None)
        gradients = backend.route_backward(saved, *d), backend.attention_backward(kept, v)
        found.append([routes.gates, y, *gradients[0][:2], *gradients[1]])
    for one, more in zip(*found, strict=True):
        np.testing.assert_array_equal(one, more)
