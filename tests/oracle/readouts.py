"""What the visible memories of a token, cached ones first and the online one last, give together.

Behrouz et al. 2026, Eq. 6-17. Routing: logit <u, context> / sqrt(K), one softmax over cached and
online.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd.tracer import getval

from oracle.deep import DeepMemory
from oracle.rules import Memory, Rule, read
from oracle.stabilised import Triple, mix_triples

Readout = Mapping[str, Any]


class View(NamedTuple):
    """All that one token sees: its queries, the memories and the mean key behind each of them."""

    rule: Rule
    memories: list[Any]
    contexts: list[Any]
    q: Any
    u: Any


def combine(readout: Readout, view: View) -> Any:
    """y_t (V,)."""
    return READOUTS[readout["kind"]](readout, view)


def reads(view: View) -> list[Any]:
    """The read of every visible memory."""
    return [read(view.rule, memory, view.q) for memory in view.memories]


def logits(view: View) -> list[Any]:
    """<u, context> / sqrt(K) for every visible memory."""
    return [anp.dot(view.u, context) / np.sqrt(len(context)) for context in view.contexts]


def softmax(scores: list[Any]) -> list[Any]:
    """exp(score) over their sum, shifted by a constant."""
    largest = max(getval(score) for score in scores)
    weights = [anp.exp(score - largest) for score in scores]
    total = sum(weights[1:], weights[0])
    return [weight / total for weight in weights]


def weighted(gates: list[Any], values: list[Any]) -> Any:
    """The sum of gate times value."""
    terms = [gate * value for gate, value in zip(gates, values, strict=True)]
    return sum(terms[1:], terms[0])


def selected(top_k: int, scores: list[Any]) -> list[int]:
    """The top_k cached memories by logit, ties to the lower index, and the online one."""
    plain = [float(getval(score)) for score in scores[:-1]]
    ranking = sorted(range(len(plain)), key=lambda i: (-plain[i], i))
    return [*sorted(ranking[:top_k]), len(plain)]


def online_only(readout: Readout, view: View) -> Any:
    """M_t(q_t)."""
    return read(view.rule, view.memories[-1], view.q)


def residual(readout: Readout, view: View) -> Any:
    """Eq. 6-7: the plain sum of all reads."""
    return weighted([1.0] * len(view.memories), reads(view))


def grm(readout: Readout, view: View) -> Any:
    """Eq. 9-10: the gated sum of all reads."""
    return weighted(softmax(logits(view)), reads(view))


def soup(readout: Readout, view: View) -> Any:
    """Eq. 14-15: one read of the gated sum of all memories, normalisers mixed alike."""
    gates = softmax(logits(view))
    if isinstance(view.memories[0], DeepMemory):
        pairs = zip(*(memory.weights for memory in view.memories), strict=True)
        w_in, w_out = (weighted(gates, list(matrices)) for matrices in pairs)
        return read(view.rule, view.memories[0]._replace(weights=(w_in, w_out)), view.q)
    if isinstance(view.memories[0], Triple):
        return read(view.rule, mix_triples(gates, view.memories), view.q)
    matrix = weighted(gates, [memory.matrix for memory in view.memories])
    normaliser = weighted(gates, [memory.normaliser for memory in view.memories])
    return read(view.rule, Memory(matrix, normaliser), view.q)


def ssc(readout: Readout, view: View) -> Any:
    """Eq. 16-17: grm over the selected cached memories and the online one."""
    scores, outputs = logits(view), reads(view)
    chosen = selected(readout["top_k"], scores)
    return weighted(softmax([scores[i] for i in chosen]), [outputs[i] for i in chosen])


def moving_average(readout: Readout, view: View) -> Any:
    """The uniform mean of the reads of cached and online memories."""
    return residual(readout, view) / len(view.memories)


READOUTS: dict[str, Callable[[Readout, View], Any]] = {
    "none": online_only,
    "residual": residual,
    "grm": grm,
    "soup": soup,
    "ssc": ssc,
    "moving_average": moving_average,
}
