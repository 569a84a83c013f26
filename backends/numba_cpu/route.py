"""`route` in fast kernels, row by head in parallel."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Routes
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.router import Pool, Router
from mcore.segments import Segments


class RouteSaved(NamedTuple):
    """What `route` keeps: its inputs, gates and contexts."""

    x: Any
    gates: Array
    contexts: Array


def route(
    u: Array, keys: Array, segments: Segments, router: Router, pool: Pool, threads: int
) -> tuple[Routes, RouteSaved]:
    """See `mcore.backend.Backend.route`."""
    from mcore.backends.numba_cpu.route_kernels import route_kernel, route_work

    u = plain(u)
    rows, tokens, heads, width = u.shape
    x = _route_inputs((u, plain(keys, u)), segments, router, pool)
    gates = np.empty((rows, tokens, heads, segments.columns + 1), u.dtype)
    contexts = np.zeros((rows, segments.count, heads, width), u.dtype)
    run(route_kernel, Tasks(rows * heads, threads), x, route_work, (gates, contexts))
    return Routes(gates, contexts), RouteSaved(x, gates, contexts)


def route_backward(
    saved: RouteSaved, d_gates: Array, d_contexts: Array, threads: int
) -> tuple[Array, Array, Pool]:
    """See `mcore.backend.Backend.route_backward`."""
    from mcore.backends.numba_cpu.route_backward_kernels import route_backward_kernel
    from mcore.backends.numba_cpu.route_kernels import route_work

    x = saved.x
    incoming = [plain(array, x.u) for array in (d_gates, d_contexts)]
    out = tuple(np.empty_like(array) for array in (x.u, x.keys, x.cached, x.before))
    tasks = Tasks(x.u.shape[0] * x.u.shape[2], threads)
    given = (saved.gates, saved.contexts, *incoming)
    run(route_backward_kernel, tasks, x, route_work, given, out)
    du, dk, d_cached, d_before = out
    return du, dk, Pool(d_cached, d_before)


def _route_inputs(
    vectors: tuple[Array, Array], segments: Segments, router: Router, pool: Pool
) -> Any:
    """What routing kernels work on; vectors = (u, keys)."""
    from mcore.backends.numba_cpu.route_kernels import RouteInputs

    u, keys = vectors
    pooled, before = plain(pool.contexts, u), plain(pool.keys, u)
    bounds, first, last = plain(segments.bounds), plain(segments.first), plain(segments.last)
    place = np.empty((0, 0), np.int64) if router.seed is None else plain(segments.place)
    return RouteInputs(
        u, keys, pooled, before, bounds, first, last, plain(segments.offset),
        place, router.seed or 0, router.top_k or 0,
        int(router.pool == "sum"), int(router.online == "outside"), int(router.detach),
    )  # fmt: skip
