"""Deep memories chunk after chunk: a chunk's gradients are all taken at the memory before it."""

from mcore.backends.cupy_gpu.deep_forms import Form, Launch, OnlineSaved, longest
from mcore.backends.cupy_gpu.deep_tiles import Counts, Tiling, tiling

MOST_BACKWARD = 32
"""Tokens of a block: more do not fit beside the gradients of four slices of weights."""


def forward(saved: OnlineSaved) -> Launch:
    """Of `deep_chunks`."""
    moves = "momentum" in saved.inputs
    tiles = _tiles(saved, Counts(by_key=3, weights=4 if moves else 2, hidden=3, pairs=2))
    return Launch("deep_chunks", tiles.sizes, (_chunk(saved),), tiles.shared)


def backward(saved: OnlineSaved) -> Launch:
    """Of `deep_chunks_backward`."""
    weights = 8 if "momentum" in saved.inputs else 4
    counts = Counts(by_key=5, weights=weights, hidden=4, pairs=3, vectors=60, rows=MOST_BACKWARD)
    tiles, size = _tiles(saved, counts), saved.checkpoints.shape[-1]
    between = 2 * tiles.rows * saved.inputs["w_in"].shape[-1]
    tokens, chunk = longest(saved.segments), _chunk(saved)
    steps = min(tokens, -(-tokens // tiles.rows) + -(-tokens // chunk) + 1)
    more = 1 - -between // size
    return Launch("deep_chunks_backward", tiles.sizes, (chunk,), tiles.shared, steps, more)


BY_CHUNKS = Form(forward, backward)


def _chunk(saved: OnlineSaved) -> int:
    chunk: int = getattr(saved.rule, "chunk", 1)
    return chunk


def _tiles(saved: OnlineSaved, counts: Counts) -> Tiling:
    keys, width = saved.inputs["w_in"].shape[1:]
    tokens = min(_chunk(saved), longest(saved.segments))
    return tiling(counts, keys, width, tokens, saved.checkpoints.itemsize)
