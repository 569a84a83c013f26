"""Routing on the GPU, emulated, against the reference."""

from typing import Any

import numpy as np
import pytest
from gpu_routing import (
    CASES,
    DTYPES,
    HEADS,
    REFERENCE,
    WIDTHS,
    Case,
    assert_near,
    cuts,
    double,
    down,
    gpu,
    normal,
    same_bits,
    up,
)

from mcore.backends.cupy_gpu.emulation.array import traffic
from mcore.router import Pool, Router
from mcore.testing.gradcheck import check_pair

ROUTERS = {
    "all": Router(),
    "best": Router(top_k=1),
    "two best, sums": Router(top_k=2, pool="sum"),
    "online outside": Router(online="outside"),
    "by lot": Router(top_k=2, seed=3),
    "detached": Router(detach=True),
    "all options": Router(top_k=1, pool="sum", online="outside", seed=2**62 + 5, detach=True),
}


def routing(case: Case, dtype: str, width: int) -> tuple[Any, Pool, Any]:
    """(u, keys), the pool, and gradients of what `route` returns."""
    rng, segments = np.random.default_rng(0), cuts(case)
    wide = (case.rows, case.tokens, HEADS, width)
    before = normal(rng, dtype, case.rows, HEADS, width)
    before[segments.offset == 0] = 0
    pool = Pool(normal(rng, dtype, case.rows, case.cached, HEADS, width), before)
    gates = normal(rng, dtype, *wide[:3], segments.columns + 1)
    ends = normal(rng, dtype, case.rows, segments.count, HEADS, width)
    return (normal(rng, dtype, *wide), normal(rng, dtype, *wide)), pool, (gates, ends)


def both_ways(case: Case, router: Router, dtype: str, width: int, seed: int = 1) -> Any:
    """What routing and its backward give, on the GPU."""
    backend, segments = gpu(seed), cuts(case)
    (u, keys), pool, d = up(backend, routing(case, dtype, width))
    routes, saved = backend.route(u, keys, segments, router, pool)
    return down(backend, (routes, backend.route_backward(saved, *d)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("router", ROUTERS.values(), ids=ROUTERS.keys())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_route_is_the_reference(case: Case, router: Router, dtype: str) -> None:
    width = WIDTHS[dtype][0]
    (u, keys), pool, d = double(routing(case, dtype, width))
    want, saved = REFERENCE.route(u, keys, cuts(case), router, pool)
    got = both_ways(case, router, dtype, width)
    assert_near(got, (want, REFERENCE.route_backward(saved, *d)), dtype)
    assert ((got[0].gates == 0) == (want.gates == 0)).all()


def test_ties_go_to_the_lower_index() -> None:
    case, backend = CASES["many checkpoints"], gpu()
    (u, keys), pool, _ = routing(case, "float64", 3)
    same = np.ascontiguousarray(np.broadcast_to(keys[:, :1], keys.shape))
    for top_k in (1, 3):
        router = Router(top_k)
        arrays = up(backend, (u, same, pool))
        got, _ = backend.route(arrays[0], arrays[1], cuts(case), router, arrays[2])
        want, _ = REFERENCE.route(u, same, cuts(case), router, pool)
        np.testing.assert_allclose(down(backend, got.gates), want.gates, atol=1e-15)


def test_backward_is_the_derivative() -> None:
    case, backend = CASES["two tokens, the first of an open segment"], gpu()
    (u, keys), pool, _ = routing(case, "float64", 3)

    def forward(u: Any, keys: Any, contexts: Any, before: Any) -> Any:
        arrays = up(backend, (u, keys, Pool(contexts, before)))
        routes, saved = backend.route(arrays[0], arrays[1], cuts(case), Router(), arrays[2])
        return tuple(down(backend, routes)), saved

    def backward(saved: Any, *d_routes: Any) -> Any:
        du, dk, d_pool = down(backend, backend.route_backward(saved, *up(backend, d_routes)))
        return du, dk, *d_pool

    check_pair(forward, backward, {"u": u, "keys": keys, "contexts": pool[0], "before": pool[1]})


def test_any_order_of_threads_gives_the_same_bits() -> None:
    case, router = CASES["more than a block of tokens"], Router(top_k=2)
    found = [both_ways(case, router, "float32", 17, seed) for seed in (0, 1, 7)]
    assert same_bits(found)


def test_a_second_call_waits_for_nothing() -> None:
    case, backend = CASES["ragged"], gpu()
    (u, keys), pool, d = up(backend, routing(case, "float64", 3))
    for _ in range(2):
        traffic.reset()
        _, saved = backend.route(u, keys, cuts(case), Router(top_k=1, seed=1), pool)
        backend.route_backward(saved, *d)
    assert (traffic.down, traffic.up) == (0, 0)
