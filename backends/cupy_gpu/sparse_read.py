"""Gates and reads of a layer whose tokens read their best few checkpoints only.

Choices are sorted by checkpoint, on the device; each checkpoint answers all of its readers,
gathered; the answers of a token's choices are put together in the order of its choices.
"""

from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backends.cupy_gpu.blocks import COLUMNS, Plan, blocks, plan, row
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.layer import Backward, Ends, Kernels, Layer, Outcome
from mcore.backends.cupy_gpu.read import state_bytes
from mcore.router import Router

MOST = 16
"""Checkpoints of a token that there is room for."""

CHOICES = 512
"""Choices that a block sorts at a time."""

BLOCKS = 4
"""Blocks of tokens that one block answers, one after the other, for the same checkpoint."""


class Choices(NamedTuple):
    """What tokens read.

    Attributes:
        chosen: (B, T, H, k) columns, the best first; -1 where there are fewer.
        gates: (B, T, H, k).
        online: (B, T, H) gates of the online memory.
    """

    chosen: Array
    gates: Array
    online: Array


class Groups(NamedTuple):
    """Choices t * k + slot of tokens, sorted by column.

    Attributes:
        entries: (B, H, T * k).
        offsets: (B, H, columns + 1) where each column's begin.
        parts: (B, H, columns + 1) how many parts come before each column's.
    """

    entries: Array
    offsets: Array
    parts: Array


def forward(device: Device, layer: Layer, router: Router) -> Outcome:
    """Choose, sort, answer, put together."""
    made = _plan(device, layer)
    choices = _choose(made, layer, router)
    groups = _grouped(made, layer, choices.chosen)
    (rows, tokens, heads), values = layer.lead, layer.form.values
    few, part = choices.chosen.shape[-1], BLOCKS * made.rows
    answers = made.array((rows, tokens, heads, few, values))
    arguments: tuple[Any, ...] = (layer.q, layer.cached, layer.own, *groups, answers)
    shared = made.bytes(made.rows * row(made.keys), made.slab * (made.values + 8))
    sizes = (*layer.sizes[:-1], layer.x.columns, few)
    made.run("answer_readers", _parts(made, layer, few), (*arguments, *sizes, part), shared)
    y = device.xp.empty_like(layer.reads)
    arguments = (layer.reads, answers, *choices, y, tokens, heads, values, few)
    made.run("combine_answers", (blocks(tokens, made.rows), heads, rows), arguments)
    return Outcome(y, (choices, groups))


def backward(
    device: Device, given: tuple[Layer, Any], dy: Array, router: Router, ends: Ends
) -> Backward:
    """Its gradients; those of checkpoints and contexts are added to `ends`."""
    layer, (choices, groups) = given
    made, few = _plan(device, layer), choices.chosen.shape[-1]
    rows, tokens, heads = layer.lead
    dy, d_gates = made.tokens(dy), made.array(choices.gates.shape)
    d_queries = made.array((*d_gates.shape, layer.form.keys))
    memories, sizes = (layer.cached, layer.own), (*layer.sizes[:-1], layer.x.columns, few)
    arguments: tuple[Any, ...] = (
        layer.q,
        dy,
        *memories,
        *groups,
        choices.gates,
        d_gates,
        d_queries,
        *sizes,
    )
    wide, tall = made.rows * row(made.keys), made.rows * row(made.values)
    shared = made.bytes(wide, tall, made.slab * row(made.values))
    part = BLOCKS * made.rows
    made.run("readers_backward", _parts(made, layer, few), (*arguments, part), shared)
    dq, du, d_reads = (device.xp.empty_like(a) for a in (layer.q, layer.x.u, layer.reads))
    d_online, outside = made.array(layer.lead), router.online == "outside"
    arguments = (
        layer.reads, dy, layer.x.cached, layer.contexts, *choices, d_queries, d_gates, dq, du,
        d_reads, d_online, *layer.sizes[:6], few, outside,
    )  # fmt: skip
    made.run("choices_backward", (blocks(tokens, made.rows), heads, rows), arguments)
    if not router.detach:
        sorted_by = (groups.entries, groups.offsets, choices.gates, d_gates)
        arguments = (layer.q, layer.x.u, dy, *sorted_by, *ends, *sizes)
        shared = made.bytes(made.rows * (made.keys + 8), made.rows, made.keys)
        shared += state_bytes(made, False)
        made.run("chosen_backward", (layer.x.columns, heads, rows), arguments, shared)
    return Backward(dq, du, d_reads, d_online)


def _plan(device: Device, layer: Layer) -> Plan:
    return plan(device, "sparse_read", layer.q, layer.form.keys, layer.form.values)


def _choose(made: Plan, layer: Layer, router: Router) -> Choices:
    x, sight, few = layer.x, layer.sight, router.top_k or 0
    rows, tokens, heads = layer.lead
    chosen = made.device.xp.empty((*layer.lead, few), "int32")
    choices = Choices(chosen, made.array(chosen.shape), made.array(layer.lead))
    sizes = (tokens, heads, layer.form.keys, x.cached.shape[1], x.own, few)
    arguments: tuple[Any, ...] = (
        x.u, x.cached, layer.contexts, layer.online, sight.first, sight.last, *choices, *sizes,
        router.online == "outside",
    )  # fmt: skip
    pieces = (made.rows * row(made.keys), COLUMNS * row(made.keys), made.rows * row(COLUMNS))
    shared = made.bytes(*pieces, made.rows * few, integers=2 * made.rows)
    shared += made.bytes(integers=made.rows * few)
    made.run("choose", (blocks(tokens, made.rows), heads, rows), arguments, shared)
    return choices


def _grouped(made: Plan, layer: Layer, chosen: Array) -> Groups:
    """A counting sort."""
    xp, columns, few = made.device.xp, layer.x.columns, chosen.shape[-1]
    rows, tokens, heads = layer.lead
    tile = CHOICES // few
    tiles, part = blocks(tokens, tile), BLOCKS * made.rows
    counts = xp.empty((rows, heads, tiles, columns), "int32")
    entries = xp.empty((rows, heads, tokens * few), "int32")
    offsets, parts = (xp.empty((rows, heads, columns + 1), "int32") for _ in range(2))
    sizes, room = (tokens, heads, columns, few, tile), made.bytes(integers=columns)
    made.run("count_readers", (tiles, heads, rows), (chosen, counts, *sizes), room)
    arguments: tuple[Any, ...] = (counts, offsets, parts, heads, columns, tiles, part)
    made.run("place_readers", (1, heads, rows), arguments, room)
    arguments = (chosen, counts, offsets, entries, *sizes)
    room = made.bytes(integers=tile * few)
    made.run("sort_readers", (tiles, heads, rows), arguments, room)
    return Groups(entries, offsets, parts)


def _parts(made: Plan, layer: Layer, few: int) -> tuple[int, int, int]:
    """A grid with a block for each part of each column, however the choices fall."""
    rows, tokens, heads = layer.lead
    columns = layer.x.columns
    return min(columns, 1) * (tokens * few // (BLOCKS * made.rows) + columns), heads, rows


SPARSE = Kernels(forward, backward)
"""For routers that read the best few checkpoints."""
