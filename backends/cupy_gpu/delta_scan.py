"""Scan of delta rules, whose tokens write errors: see cuda/delta_scan.cu."""

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.cupy_gpu.decayed_scan import (
    Gradients,
    Saved,
    Tokens,
    gradient_places,
    read_gradients,
    summed,
)
from mcore.backends.cupy_gpu.matrix_layout import SHARED, Layout, Place
from mcore.errors import BackendError


def scan(layout: Layout, x: Tokens, carry: Array | None) -> tuple[Scan, Saved]:
    """Answers (B, T, H, V) and checkpoints (B, S, H, P).

    Raises:
        BackendError: keys are so wide that a block cannot hold a tile of the state.
    """
    _check_width(layout)
    chunks = layout.chunks
    states = Place(layout.inner(), layout.zeros(layout.shape.segments), carry)
    w, written = _solve(layout, x, None)
    _chain(layout, (x.k, x.log_decay, w, written, states), chunks.runs, inside=False)
    y = layout.device.xp.empty(x.v.shape, x.v.dtype)
    layout.launch(
        "delta_scan.delta_answers",
        layout.value_tiles,
        (x.q, x.k, written, x.log_decay, states, y, chunks.table),
        *layout.blocks.answers,
    )
    return Scan(y, states.ends), Saved(layout, x, states._replace(inner=None))


def scan_backward(saved: Saved, dy: Array, d_ends: Array) -> Gradients:
    """Gradients of `scan`."""
    layout, x, chunks = saved.layout, saved.x, saved.layout.chunks
    states = saved.states._replace(inner=layout.inner())
    rows = layout.tile[0]
    inverses = layout.empty(len(chunks.table), layout.shape.heads, rows, rows)
    w, written = _solve(layout, x, inverses)
    _chain(layout, (x.k, x.log_decay, w, written, states), chunks.parts, inside=True)
    gradients = gradient_places(layout, saved.states, d_ends)
    d_written = _written_gradients(layout, x, dy, (w, gradients))
    dv, d_beta = _correction_gradients(layout, x, inverses, d_written)
    xp = layout.device.xp
    dq, dk = xp.empty(x.q.shape, x.q.dtype), xp.empty(x.q.shape, x.q.dtype)
    partial = None if x.log_decay is None else layout.partial()
    given = (x.q, x.k, written, dy, x.log_decay, x.beta, d_written, states, gradients)
    layout.launch(
        "delta_scan.delta_key_gradients",
        layout.key_tiles,
        (*given, dq, dk, partial, d_beta, chunks.table, len(dq)),
        *layout.blocks.delta_gradients,
    )
    tokens = Tokens(dq, dk, dv, summed(layout, partial), summed(layout, d_beta))
    return Gradients(tokens, gradients.carried)


def _check_width(layout: Layout) -> None:
    keys = layout.shape.keys
    taken = layout.bytes(layout.blocks.chains(keys))
    if taken > SHARED:
        raise BackendError(
            f"backend cupy: a delta rule with keys of width {keys} takes {taken >> 10} KB of "
            f"shared memory, a block has {SHARED >> 10}; narrower heads, or backend numba, would do"
        )


def _solve(layout: Layout, x: Tokens, inverses: Array | None) -> tuple[Array, Array]:
    """W (B, T, H, K) and U (B, T, H, V) of all chunks."""
    w, u = layout.empty(*x.k.shape), layout.empty(*x.v.shape)
    layout.launch(
        "delta_scan.delta_solve",
        1,
        (x.k, x.v, x.log_decay, x.beta, w, u, inverses, layout.chunks.table),
        *layout.blocks.solve,
    )
    return w, u


def _chain(layout: Layout, values: tuple[object, ...], chains: Array, inside: bool) -> None:
    """U to what is written, and the states."""
    layout.chain(
        "delta_scan.delta_chains",
        chains,
        _pass_tiles(layout),
        (*values, layout.chunks.table, chains, inside),
        *layout.blocks.chains(layout.shape.keys),
    )


def _written_gradients(layout: Layout, x: Tokens, dy: Array, given: tuple[Array, Place]) -> Array:
    """The gradient of what is written; `given` are W, and the gradients of states, to be filled."""
    d_written = layout.empty(*x.v.shape)
    w, gradients = given
    chunks = layout.chunks
    layout.launch(
        "delta_scan.delta_answer_gradients",
        layout.value_tiles,
        (x.q, x.k, dy, x.log_decay, d_written, chunks.table),
        *layout.blocks.answers,
    )
    if chunks.linked is not None:
        read_gradients(layout, x, dy, gradients)
    layout.chain(
        "delta_scan.delta_gradient_chains",
        chunks.runs,
        _pass_tiles(layout),
        (x.k, x.log_decay, w, d_written, gradients, chunks.table, chunks.runs),
        *layout.blocks.chains(layout.shape.keys),
    )
    return d_written


def _correction_gradients(
    layout: Layout, x: Tokens, inverses: Array, d_written: Array
) -> tuple[Array, Array]:
    """dv; and room for parts of d_beta, the last of which is filled. Solves for `d_written`."""
    dv = layout.device.xp.empty(x.v.shape, x.v.dtype)
    tiles = layout.key_tiles
    d_beta = layout.empty(tiles + 1, *layout.shape[:3])
    layout.launch(
        "delta_scan.correction_gradients",
        1,
        (x.v, x.beta, inverses, d_written, dv, d_beta[tiles], layout.chunks.table),
        *layout.blocks.corrections,
    )
    return dv, d_beta


def _pass_tiles(layout: Layout) -> int:
    return -(-layout.shape.values // layout.blocks.passed)
