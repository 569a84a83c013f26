"""`scan` and `soup` of deep memories around one online kernel per rule.

The mixture of perceptrons, sum_i g_i W_i for both matrices, answers

    y = q + (sum_i g_i W_out,i)^T gelu(sum_i g_i W_in,i^T q)

so each layer is a gated linear read of the cached memories plus the online memory's share:

    extra  = sum_cached g_i W_in,i^T q                  a linear read through w_in
    A      = gelu(g_online W_in,t^T q + extra)          inside the online kernel
    y      = q + g_online W_out,t^T A                   from the online kernel
           + sum_cached g_i W_out,i^T A                 a linear read through w_out, of A

A rule plugs in with a `DeepRule`: its online kernel, forward and backward, in the form of
`deep.online` and `deep.online_backward`. It is given the mixture (None in a scan: the gate is 1,
there is no extra) and returns reads q + g Z and, if mixed, A; backward it is given the gradients
of reads, checkpoints and A (None: zero) and returns those of inputs, carry and mixture. `scan` and
`soup` below are then the backend's operations. States must begin with w_in over the transpose of
w_out, (2 K, E), as those of all deep rules do.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.numba_cpu import deep as _deep
from mcore.backends.numba_cpu import mirror as _mirror
from mcore.backends.numba_cpu import read as _read
from mcore.backends.numba_cpu.deep import Mixture, OnlineGradients
from mcore.backends.numba_cpu.scan import flattened
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Segments


class DeepRule(NamedTuple):
    """The online kernel of a rule: `deep.online` and `deep.online_backward`, or of their form."""

    online: Callable[..., Any]
    online_backward: Callable[..., OnlineGradients]


_DESCENT = DeepRule(_deep.online, _deep.online_backward)
_MIRROR = DeepRule(_mirror.online, _mirror.online_backward)
DEEP_RULES = {
    **dict.fromkeys(("dla", "titans", "yaad"), _DESCENT),
    **dict.fromkeys(("moneta", "memora"), _MIRROR),
}


class ScanSaved(NamedTuple):
    """What `scan` keeps: the rule's kernel, and what that keeps."""

    rule: DeepRule
    online: Any


class SoupSaved(NamedTuple):
    """What `soup` keeps: of the online kernel and both reads (None: no checkpoints); sizes."""

    rule: DeepRule
    online: Any
    first: Any
    second: Any
    checkpoints: tuple[int, ...]
    keys: int


def scan(
    rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments, threads: int
) -> tuple[Scan, ScanSaved]:
    """See `mcore.backend.Backend.scan`."""
    deep = DEEP_RULES[rule.kind]
    found, saved = deep.online(rule, inputs, carry, segments, None, threads)
    return found.scan, ScanSaved(deep, saved)


def scan_backward(
    saved: ScanSaved, d_reads: Array, d_checkpoints: Array, threads: int
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    found = saved.rule.online_backward(saved.online, d_reads, d_checkpoints, None, threads)
    return found.inputs, found.carry


def soup(
    rule: Recurrence,
    inputs: Inputs,
    carry: Array | None,
    segments: Segments,
    cached: tuple[Array, Array],
    threads: int,
) -> tuple[Array, SoupSaved]:
    """See `mcore.backend.Backend.soup`."""
    checkpoints, gates = cached
    deep, q = DEEP_RULES[rule.kind], inputs["q"]
    extra, first, second = None, None, None
    layers, shares = _layers(checkpoints, q.shape[-1], inputs["w_in"].shape[-1]), gates[..., :-1]
    if layers is not None:
        extra, first = _read.linear_read(q, layers[0], shares, segments, threads)
    mixture = Mixture(gates[..., -1], extra)
    found, online = deep.online(rule, inputs, carry, segments, mixture, threads)
    y = found.scan.reads
    if layers is not None:
        said, second = _read.linear_read(found.hidden, layers[1], shares, segments, threads)
        y = y + said
    return y, SoupSaved(deep, online, first, second, checkpoints.shape, q.shape[-1])


def soup_backward(
    saved: SoupSaved, dy: Array, threads: int
) -> tuple[dict[str, Array], Array | None, Array, Array]:
    """See `mcore.backend.Backend.soup_backward`: second layer, online memory, first layer."""
    d_checkpoints = np.zeros(saved.checkpoints, dy.dtype)
    d_gates = np.zeros((*dy.shape[:3], saved.checkpoints[1] + 1), dy.dtype)
    d_hidden, d_out = None, None
    if saved.second is not None:
        d_hidden, d_out, d_gates[..., :-1] = _read.read_backward(saved.second, dy, threads)
    found = saved.rule.online_backward(saved.online, dy, None, d_hidden, threads)
    assert found.mixture is not None
    d_gates[..., -1] = found.mixture.gates
    if d_out is not None and found.mixture.extra is not None:
        dq, d_in, d_shares = _read.read_backward(saved.first, found.mixture.extra, threads)
        found.inputs["q"] += dq
        d_gates[..., :-1] += d_shares
        _join(d_in, d_out, saved.keys, d_checkpoints)
    return found.inputs, found.carry, d_checkpoints, d_gates


def _layers(checkpoints: Array, keys: int, width: int) -> tuple[Array, Array] | None:
    """w_in (B, C, H, K E) and w_out (B, C, H, E K) of all checkpoints, if there are any."""
    if not checkpoints.shape[1]:
        return None
    stacks = checkpoints.reshape(*checkpoints.shape[:3], -1, width)
    w_out = stacks[..., keys : 2 * keys, :].swapaxes(-1, -2)
    return flattened(stacks[..., :keys, :]), flattened(w_out)


def _join(d_in: Array, d_out: Array, keys: int, d_checkpoints: Array) -> None:
    """Put both layers' gradients where a state has the layers."""
    lead, width = d_checkpoints.shape[:3], d_in.shape[-1] // keys
    stacks = d_checkpoints.reshape(*lead, -1, width)
    stacks[..., :keys, :] = d_in.reshape(*lead, keys, width)
    stacks[..., keys : 2 * keys, :] = d_out.reshape(*lead, width, keys).swapaxes(-1, -2)
