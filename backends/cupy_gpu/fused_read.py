"""Gates and reads of a layer whose tokens read all checkpoints that they see.

No array over tokens and checkpoints is made: a forward keeps of each token what its softmax is
divided by, and a backward makes the same gates again.
"""

from typing import Any

from mcore.arrays import Array
from mcore.backends.cupy_gpu.blocks import COLUMNS, blocks, plan, row
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.layer import Backward, Ends, Kernels, Layer, Outcome
from mcore.backends.cupy_gpu.read import answer_bytes, backward_bytes, state_bytes
from mcore.router import Router


def forward(device: Device, layer: Layer, router: Router) -> Outcome:
    """Every token reads all that it sees."""
    made = plan(device, "fused_read", layer.q, layer.form.keys, layer.form.values)
    x, sight, (rows, tokens, heads) = layer.x, layer.sight, layer.lead
    grid = blocks(tokens, made.rows), heads, rows
    wide, kept = made.rows * row(made.keys), tuple(made.array(layer.lead) for _ in range(3))
    sizes = (tokens, heads, layer.form.keys, layer.cached.shape[1], x.own)
    arguments: tuple[Any, ...] = (
        x.u, x.cached, layer.contexts, layer.online, sight.first, sight.last, *kept, *sizes,
        router.online == "outside",
    )  # fmt: skip
    shared = made.bytes(wide, COLUMNS * row(made.keys), integers=2 * made.rows)
    made.run("gate_sums", grid, arguments, shared)
    y = device.xp.empty_like(layer.reads)
    others = device.xp.empty_like(y) if router.online == "outside" else None
    vectors = (layer.q, x.u, layer.reads, *layer.memories)
    arguments = (*vectors, sight.first, sight.last, *kept, y, others, *layer.sizes)
    shared += made.bytes(wide, 2 * made.rows) + answer_bytes(made, layer.form.divided)
    made.run("fused_read", grid, arguments, shared)
    return Outcome(y, (kept, y if others is None else others))


def backward(
    device: Device, given: tuple[Layer, Any], dy: Array, router: Router, ends: Ends
) -> Backward:
    """Its gradients; those of checkpoints and contexts are added to `ends`."""
    layer, (kept, softened) = given
    made = plan(device, "fused_read", layer.q, layer.form.keys, layer.form.values)
    x, sight, (rows, tokens, heads) = layer.x, layer.sight, layer.lead
    mean, d_online = made.array(layer.lead), made.array(layer.lead)
    dq, du, d_reads = (device.xp.empty_like(a) for a in (layer.q, x.u, layer.reads))
    dy, seen = made.tokens(dy), (sight.first, sight.last)
    arguments: tuple[Any, ...] = (
        layer.q, x.u, layer.reads, *layer.memories, *seen, *kept, softened, dy, dq, du, d_reads,
        mean, d_online, *layer.sizes, router.online == "outside",
    )  # fmt: skip
    wide, divided = made.rows * row(made.keys), layer.form.divided
    pieces = (wide, wide, COLUMNS * row(made.keys), 3 * made.rows, made.rows * row(made.values))
    shared = made.bytes(*pieces, integers=2 * made.rows) + backward_bytes(made, divided)
    made.run("fused_queries_backward", (blocks(tokens, made.rows), heads, rows), arguments, shared)
    if not router.detach:
        span, peaks = (sight.begin, sight.end), (*kept[:2], mean)
        arguments = (
            layer.q, x.u, *layer.memories, *seen, *span, *peaks, dy, *ends, *layer.sizes,
        )  # fmt: skip
        shared = made.bytes(made.rows * (made.keys + 8), made.rows, made.keys)
        shared += state_bytes(made, True)
        made.run("fused_states_backward", (x.columns, heads, rows), arguments, shared)
    return Backward(dq, du, d_reads, d_online)


DENSE = Kernels(forward, backward)
"""For routers that read all checkpoints."""
