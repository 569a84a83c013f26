"""`route` on the device: contexts and online logits, then gates a block of tokens at a time."""

from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backend import Routes
from mcore.backends.cupy_gpu.blocks import COLUMNS, Plan, blocks, plan, row
from mcore.backends.cupy_gpu.cuts import Cuts, cuts_on
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.backends.cupy_gpu.sight import Sight, sight_on
from mcore.router import GOLDEN, MULTIPLIERS, Pool, Router
from mcore.segments import Segments


class Keys(NamedTuple):
    """What contexts are made of.

    Attributes:
        u, keys: (B, T, H, K).
        cached: (B, cached, H, K) contexts that came in with the state.
        before: (B, H, K) key sum of the open segment.
        sums: whether contexts are sums.
        cuts: of the call.
    """

    u: Array
    keys: Array
    cached: Array
    before: Array
    sums: bool
    cuts: Cuts

    @property
    def own(self) -> int:
        """Number of contexts that come of this call: S."""
        return int(self.cuts.first.shape[1])

    @property
    def columns(self) -> int:
        """Number of contexts that tokens may see."""
        return int(self.cached.shape[1]) + self.own - 1


class RouteSaved(NamedTuple):
    """What `route` keeps."""

    x: Keys
    contexts: Array
    gates: Array
    sight: Sight
    router: Router


def route(
    device: Device, u: Array, keys: Array, segments: Segments, router: Router, pool: Pool
) -> tuple[Routes, RouteSaved]:
    """See `mcore.backend.Backend.route`."""
    made = plan(device, "route", u, u.shape[-1])
    x = routing_keys(made, (u, keys), segments, router, pool)
    contexts, online = pooled(made, x)
    rows, tokens, heads, width = x.u.shape
    gates, sight = made.array((rows, tokens, heads, x.columns + 1)), sight_on(device, segments)
    law = (router.top_k or 0, router.online == "outside", router.seed is not None)
    seed = 0 if router.seed is None else mixed(router.seed)
    arguments: tuple[Any, ...] = (
        x.u, x.cached, contexts, online, sight.first, sight.last, sight.place, gates, tokens,
        heads, width, x.cached.shape[1], x.own, x.columns, *law, _signed(seed >> 32), _signed(seed),
    )  # fmt: skip
    wide = row(made.keys)
    shared = made.bytes(made.rows * wide, COLUMNS * wide, integers=2 * made.rows)
    made.run("route_gates", (blocks(tokens, made.rows), heads, rows), arguments, shared)
    return Routes(gates, contexts), RouteSaved(x, contexts, gates, sight, router)


def route_backward(
    device: Device, saved: RouteSaved, d_gates: Array, d_contexts: Array
) -> tuple[Array, Array, Pool]:
    """See `mcore.backend.Backend.route_backward`."""
    x, _, gates, sight, router = saved
    made = plan(device, "route", x.u, x.u.shape[-1])
    rows, tokens, heads, width = x.u.shape
    du, d_online = device.xp.empty_like(x.u), made.array((rows, tokens, heads))
    d_logits = made.array((rows, tokens, heads, x.columns))
    sizes = (tokens, heads, width, x.cached.shape[1], x.own, x.columns)
    arguments: tuple[Any, ...] = (
        x.cached, saved.contexts, sight.first, sight.last, gates, made.numbers(d_gates), d_logits,
        d_online, du, *sizes, router.online == "outside",
    )  # fmt: skip
    wide, pairs = row(made.keys), made.rows * row(COLUMNS)
    shared = made.bytes(pairs, COLUMNS * wide, integers=2 * made.rows)
    made.run("route_gates_backward", (blocks(tokens, made.rows), heads, rows), arguments, shared)
    d_cached = made.array(x.cached.shape, zero=True)
    d_own = device.xp.array(made.numbers(d_contexts))
    if not router.detach:
        arguments = (x.u, d_logits, sight.begin, sight.end, d_cached, d_own, *sizes)
        grid = blocks(x.columns, COLUMNS), heads, rows
        shared = made.bytes(made.rows * wide, pairs)
        made.run("route_contexts_backward", grid, arguments, shared)
    dk, d_before = pooled_backward(made, x, (d_own, d_online), du)
    return du, dk, Pool(d_cached, d_before)


def routing_keys(
    made: Plan, vectors: tuple[Array, Array], segments: Segments, router: Router, pool: Pool
) -> Keys:
    """What routing works on; vectors = (u, keys)."""
    u, keys = (made.tokens(x) for x in vectors)
    cached, before = made.numbers(pool.contexts), made.numbers(pool.keys)
    return Keys(u, keys, cached, before, router.pool == "sum", cuts_on(made.device, segments))


def pooled(made: Plan, x: Keys) -> tuple[Array, Array]:
    """Contexts (B, S, H, K) of the segments, and logits (B, T, H) of the online memory."""
    rows, tokens, heads, width = x.u.shape
    contexts, online = made.array((rows, x.own, heads, width)), made.array((rows, tokens, heads))
    arguments: tuple[Any, ...] = (
        x.u, x.keys, x.before, x.cuts.bounds, x.cuts.offset, contexts, online, tokens, heads,
        width, x.own, x.sums,
    )  # fmt: skip
    shared = made.bytes(made.keys, made.rows * row(made.keys))
    made.run("pool_keys", (x.own, heads, rows), arguments, shared)
    return contexts, online


def pooled_backward(
    made: Plan, x: Keys, incoming: tuple[Array, Array], du: Array
) -> tuple[Array, Array]:
    """Gradients of keys and of the key sum before them; adds to `du`.

    incoming = gradients of the contexts (B, S, H, K), and of <u, mean key> (B, T, H).
    """
    rows, tokens, heads, width = x.u.shape
    dk, d_before = made.device.xp.empty_like(x.keys), made.array(x.before.shape)
    arguments: tuple[Any, ...] = (
        x.u, x.keys, x.before, x.cuts.bounds, x.cuts.offset, *incoming, du, dk, d_before,
        tokens, heads, width, x.own, x.sums,
    )  # fmt: skip
    made.run("pool_keys_backward", (x.own, heads, rows), arguments)
    return dk, d_before


def mixed(z: int) -> int:
    """The hash of `mcore.router` once, for what all tokens have in common."""
    z = z + GOLDEN & _ALL
    z = (z ^ z >> 30) * MULTIPLIERS[0] & _ALL
    z = (z ^ z >> 27) * MULTIPLIERS[1] & _ALL
    return z ^ z >> 31


def _signed(bits: int) -> int:
    """The lower 32 bits as a C int."""
    return ((bits & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


_ALL = 2**64 - 1

ROUTE = Pair(route, route_backward)
"""For every rule."""
