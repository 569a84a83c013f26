"""What the visible memories of a token, cached ones first and the online one last, give together.

Behrouz et al. 2026, Eq. 6-17.
"""

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
from autograd.tracer import getval

from oracle.deep import DeepMemory
from oracle.routing import Readout, View, gates
from oracle.rules import Memory, read, sigmoid
from oracle.stabilised import Triple, mix_triples


def combine(readout: Readout, view: View) -> Any:
    """y_t (V,)."""
    if readout.get("detach"):
        *cached, online = view.memories
        view = view._replace(memories=[*map(frozen, cached), online])
    return READOUTS[readout["kind"]](readout, view)


def frozen(memory: Any) -> Any:
    """The memory as a constant."""
    if not isinstance(memory, tuple):
        return getval(memory)
    parts = [frozen(part) for part in memory]
    return type(memory)(*parts) if hasattr(memory, "_fields") else tuple(parts)


def reads(view: View) -> list[Any]:
    """The read of every visible memory."""
    return [read(view.rule, memory, view.q) for memory in view.memories]


def weighted(shares: list[Any], values: list[Any]) -> Any:
    """The sum of gate times value."""
    terms = [gate * value for gate, value in zip(shares, values, strict=True)]
    return sum(terms[1:], terms[0])


def online_only(readout: Readout, view: View) -> Any:
    """M_t(q_t)."""
    return read(view.rule, view.memories[-1], view.q)


def residual(readout: Readout, view: View) -> Any:
    """Eq. 6-7: the plain sum of all reads."""
    return weighted([1.0] * len(view.memories), reads(view))


def routed(readout: Readout, view: View) -> Any:
    """Eq. 9-10 and 16-17: the gated sum of the reads that count."""
    found, outputs = gates(readout, view), reads(view)
    return weighted(list(found.values()), [outputs[i] for i in found])


def soup(readout: Readout, view: View) -> Any:
    """Eq. 14-15: one read of the gated sum of all memories, normalisers mixed alike."""
    found = gates(readout, view)
    shares = [found[i] for i in range(len(view.memories))]
    if isinstance(view.memories[0], DeepMemory):
        pairs = zip(*(memory.weights for memory in view.memories), strict=True)
        w_in, w_out = (weighted(shares, list(matrices)) for matrices in pairs)
        return read(view.rule, view.memories[0]._replace(weights=(w_in, w_out)), view.q)
    if isinstance(view.memories[0], Triple):
        return read(view.rule, mix_triples(shares, view.memories), view.q)
    matrix = weighted(shares, [memory.matrix for memory in view.memories])
    normaliser = weighted(shares, [memory.normaliser for memory in view.memories])
    return read(view.rule, Memory(matrix, normaliser), view.q)


def moving_average(readout: Readout, view: View) -> Any:
    """The uniform mean of the reads of cached and online memories."""
    return residual(readout, view) / len(view.memories)


def channel_gated(readout: Readout, view: View) -> Any:
    """o + sum_i s(o W_a + o_i W_b + b) o_i."""
    *cached, online = reads(view)
    weights, total = view.token, online
    base = anp.dot(online, weights["gate_online"]) + weights["gate_bias"]
    for answer in cached:
        total = total + sigmoid(base + anp.dot(answer, weights["gate_cached"])) * answer
    return total


READOUTS: dict[str, Callable[[Readout, View], Any]] = {
    "none": online_only,
    "residual": residual,
    "grm": routed,
    "soup": soup,
    "ssc": routed,
    "sigmoid": channel_gated,
    "moving_average": moving_average,
}
