"""Scan of additive memories with one decay per head and token: see cuda/decayed_scan.cu."""

from typing import NamedTuple

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.cupy_gpu.matrix_layout import Layout, Place


class Tokens(NamedTuple):
    """Contiguous q, k (B, T, H, K), v (B, T, H, V); log_decay and beta (B, T, H) or None."""

    q: Array
    k: Array
    v: Array
    log_decay: Array | None
    beta: Array | None


class Gradients(NamedTuple):
    """Gradients with respect to `Tokens`, and to what was carried in, if anything was."""

    tokens: Tokens
    carry: Array | None


class Saved(NamedTuple):
    """What a scan keeps.

    Attributes:
        layout: of the scan.
        x: its tokens.
        states: checkpoints (B, S, H, P), and what was carried in (B, H, P) or None.
    """

    layout: Layout
    x: Tokens
    states: Place


def scan(layout: Layout, x: Tokens, carry: Array | None) -> tuple[Scan, Saved]:
    """Answers (B, T, H, V) and checkpoints (B, S, H, P)."""
    xp, chunks = layout.device.xp, layout.chunks
    states = Place(layout.inner(), layout.zeros(layout.shape.segments), carry)
    wholes = _write(layout, x, states, inside=False)
    if chunks.linked is not None:
        _chain(layout, states, wholes, chunks.linked)
    y = xp.empty(x.v.shape, x.v.dtype)
    layout.launch(
        "decayed_scan.answers",
        layout.value_tiles,
        (x.q, x.k, x.v, x.log_decay, states, y, chunks.table),
        *layout.blocks.answers,
    )
    return Scan(y, states.ends), Saved(layout, x, states._replace(inner=None))


def scan_backward(saved: Saved, dy: Array, d_ends: Array) -> Gradients:
    """Gradients of `scan`."""
    layout, x, chunks = saved.layout, saved.x, saved.layout.chunks
    states = saved.states._replace(inner=layout.inner())
    if chunks.states:
        wholes = _write(layout, x, states, inside=True)
        if chunks.inner is not None:
            _chain(layout, states, wholes, chunks.inner)
    gradients = gradient_places(layout, saved.states, d_ends)
    if chunks.linked is not None:
        wholes = read_gradients(layout, x, dy, gradients)
        values = (gradients, wholes, chunks.table, chunks.linked)
        name, tiles = "decayed_scan.gradient_chains", layout.entry_tiles
        layout.chain(name, chunks.linked, tiles, values)
    xp = layout.device.xp
    dv = xp.empty(x.v.shape, x.v.dtype)
    layout.launch(
        "decayed_scan.value_gradients",
        layout.value_tiles,
        (x.q, x.k, dy, x.log_decay, gradients, dv, chunks.table),
        *layout.blocks.answers,
    )
    dq, dk = xp.empty(x.q.shape, x.q.dtype), xp.empty(x.q.shape, x.q.dtype)
    partial = None if x.log_decay is None else layout.partial()
    layout.launch(
        "decayed_scan.key_gradients",
        layout.key_tiles,
        (*x[:3], dy, x.log_decay, states, gradients, dq, dk, partial, chunks.table, len(dq)),
        *layout.blocks.gradients,
    )
    tokens = Tokens(dq, dk, dv, summed(layout, partial), None)
    return Gradients(tokens, gradients.carried)


def gradient_places(layout: Layout, states: Place, d_ends: Array) -> Place:
    """Where gradients of states lie: `d_ends` (B, S, H, P) and room for those handed on."""
    handed = layout.empty(layout.chunks.gradients, *layout.shape[2:5])
    carried = None if states.carried is None else layout.zeros()
    return Place(handed, d_ends, carried)


def read_gradients(layout: Layout, x: Tokens, dy: Array, gradients: Place) -> Array:
    """`(since . Q)^T dY` of each chunk to the gradient before it; the chunks' decays (N, H)."""
    wholes = layout.empty(len(layout.chunks.table), layout.shape.heads)
    layout.launch(
        "decayed_scan.read_gradients",
        layout.key_tiles * layout.value_tiles,
        (x.q, dy, x.log_decay, gradients, wholes, layout.chunks.table),
        *layout.blocks.products,
    )
    return wholes


def summed(layout: Layout, partial: Array | None) -> Array | None:
    """(tiles, B, T, H) to the sum over tiles (B, T, H)."""
    if partial is None or len(partial) == 1:
        return None if partial is None else partial[0]
    sums = layout.empty(*partial.shape[1:])
    layout.flat("decayed_scan.sum_parts", sums.size, (partial, sums, len(partial), sums.size))
    return sums


def _write(layout: Layout, x: Tokens, states: Place, inside: bool) -> Array:
    """What each chunk writes, to where its state will be; the chunks' decays (N, H)."""
    wholes = layout.empty(len(layout.chunks.table), layout.shape.heads)
    layout.launch(
        "decayed_scan.chunk_writes",
        layout.key_tiles * layout.value_tiles,
        (x.k, x.v, x.log_decay, states, wholes, layout.chunks.table, inside),
        *layout.blocks.products,
    )
    return wholes


def _chain(layout: Layout, states: Place, wholes: Array, chains: Array) -> None:
    """From what chunks write to the states after them."""
    values = (states, wholes, layout.chunks.table, chains)
    layout.chain("decayed_scan.write_chains", chains, layout.entry_tiles, values)
