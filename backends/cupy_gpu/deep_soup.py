"""`soup` of deep memories: the perceptrons are mixed for each token, then the mixture is asked.

    y = q + (sum_i g_i W_out,i)^T gelu(sum_i g_i W_in,i^T q)

so each layer is a mixture over the cached memories plus the online memory's share:

    extra  = sum_cached g_i W_in,i^T q                  up, through w_in
    A      = gelu(g_online W_in,t^T q + extra)          inside the online kernel
    y      = q + g_online W_out,t^T A                   from the online kernel
           + sum_cached g_i W_out,i^T A                 down, through w_out
"""

from typing import NamedTuple

from mcore.arrays import Array
from mcore.backends.cupy_gpu.deep import form_of
from mcore.backends.cupy_gpu.deep_forms import Mixture, OnlineSaved
from mcore.backends.cupy_gpu.deep_mix import (
    W_IN,
    W_OUT,
    Cached,
    Wanted,
    mix_down,
    mix_outwards,
    mix_up,
)
from mcore.backends.cupy_gpu.deep_online import online, online_backward
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.recurrence import Inputs
from mcore.recurrence.mlp_memory import MlpMemory
from mcore.segments import Segments


class SoupSaved(NamedTuple):
    """What `soup` keeps: of the online kernel, the cached memories, and A (B, T, H, E)."""

    online: OnlineSaved
    cached: Cached
    hidden: Array


def soup(
    device: Device,
    rule: MlpMemory,
    inputs: Inputs,
    carry: Array | None,
    segments: Segments,
    cached: tuple[Array, Array],
) -> tuple[Array, SoupSaved]:
    """See `mcore.backend.Backend.soup`."""
    q, extra = device.xp.ascontiguousarray(inputs["q"]), None
    checkpoints, gates = (device.xp.ascontiguousarray(x) for x in cached)
    width = inputs["w_in"].shape[-1]
    memories = Cached(checkpoints, gates, segments, q.shape[-1], width, q.dtype.name)
    if checkpoints.shape[1]:
        extra = mix_up(device, memories, W_IN, q)
    mixture = Mixture(device.xp.ascontiguousarray(gates[..., -1]), extra)
    found, saved = online(device, form_of(rule), (rule, inputs, carry, segments), mixture)
    y, hidden = found.scan.reads, found.hidden
    assert hidden is not None
    if checkpoints.shape[1]:
        mix_down(device, memories, W_OUT, hidden, Wanted(y))
    return y, SoupSaved(saved, memories, hidden)


def soup_backward(
    device: Device, saved: SoupSaved, dy: Array
) -> tuple[dict[str, Array], Array | None, Array, Array]:
    """See `mcore.backend.Backend.soup_backward`: second layer, online memory, first layer."""
    xp, cached, q = device.xp, saved.cached, saved.online.inputs["q"]
    dy, d_hidden = xp.ascontiguousarray(dy), None
    d_states, d_gates = xp.zeros_like(cached.checkpoints), xp.zeros_like(cached.gates)
    if cached.checkpoints.shape[1]:
        d_hidden = mix_up(device, cached, W_OUT, dy)
        mix_down(device, cached, W_OUT, saved.hidden, Wanted(None, d_gates, dy))
        mix_outwards(device, cached, W_OUT, (dy, saved.hidden), d_states)
    form = form_of(saved.online.rule)
    found = online_backward(device, form, saved.online, dy, (None, d_hidden))
    assert found.mixture is not None
    d_extra = found.mixture.extra
    if d_extra is not None:
        mix_down(device, cached, W_IN, d_extra, Wanted(found.inputs["q"], d_gates, q))
        mix_outwards(device, cached, W_IN, (q, d_extra), d_states)
    d_gates[..., -1] = found.mixture.gates
    return found.inputs, found.carry, d_states, d_gates


DEEP_SOUP = Pair(soup, soup_backward)
