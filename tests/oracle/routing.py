"""How a token weighs the memories it sees, from a query u and the keys behind each memory.

Behrouz et al. 2026, Eq. 10 and 16. Logit <u, context> / sqrt(K), one softmax over cached and
online, or what the options of the readout put in the place of these.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd.tracer import getval

Readout = Mapping[str, Any]
WORD = 2**64


class View(NamedTuple):
    """All that one token sees: the memories, the context of each, its inputs, and where it is.

    `place` is the token's position in its row, and the head.
    """

    rule: Mapping[str, Any]
    memories: list[Any]
    contexts: list[Any]
    token: Mapping[str, Any]
    place: tuple[int, int] = (0, 0)

    @property
    def q(self) -> Any:
        """The query of the read, if the rule has one."""
        return self.token.get("q")


def context(readout: Readout, keys: list[Any]) -> Any:
    """The mean of a segment's keys, or their sum."""
    total = sum(keys[1:], keys[0])
    return total if readout.get("pool", "mean") == "sum" else total / len(keys)


def logits(readout: Readout, view: View) -> list[Any]:
    """Scale times temperature times <u, context> for every visible memory."""
    u = view.token["q" if readout.get("u") == "shared" else "u"]
    scale = readout.get("scale") or 1 / np.sqrt(len(u))
    factor = scale * view.token["temperature"] if readout.get("temperature") else scale
    *cached, online = view.contexts
    known = [getval(c) for c in cached] if readout.get("detach") else cached
    return [factor * anp.dot(u, c) for c in (*known, online)]


def softmax(scores: list[Any]) -> list[Any]:
    """exp(score) over their sum, shifted by a constant."""
    largest = max(getval(score) for score in scores)
    weights = [anp.exp(score - largest) for score in scores]
    total = sum(weights[1:], weights[0])
    return [weight / total for weight in weights]


def selected(readout: Readout, view: View) -> list[int]:
    """The cached memories that are read, in order: all of them, or the top_k by logit or by lot."""
    count = len(view.memories) - 1
    if readout["kind"] != "ssc":
        return list(range(count))
    if readout.get("router") == "random":
        scores = [float(lot(readout.get("seed", 0), view.place, i)) for i in range(count)]
    else:
        scores = [float(getval(score)) for score in logits(readout, view)[:-1]]
    ranking = sorted(range(count), key=lambda i: (-scores[i], i))
    return sorted(ranking[: readout["top_k"]])


def gates(readout: Readout, view: View) -> dict[int, Any]:
    """The gate of every memory that is read, by its place among the visible ones."""
    scores, chosen, online = logits(readout, view), selected(readout, view), len(view.memories) - 1
    if readout.get("online", "inside") == "inside":
        chosen = [*chosen, online]
    shares = softmax([scores[i] for i in chosen]) if chosen else []
    return {online: 1.0} | dict(zip(chosen, shares, strict=True))


def lot(seed: int, place: tuple[int, int], memory: int) -> int:
    """53 bits of a hash of seed, position, head, and the memory's place in the cache."""
    drawn = mix(seed)
    for part in (*place, memory):
        drawn = mix(drawn ^ part)
    return drawn >> 11


def mix(z: int) -> int:
    """The last steps of SplitMix64."""
    z = (z + 0x9E3779B97F4A7C15) % WORD
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ z >> 27) * 0x94D049BB133111EB % WORD
    return z ^ z >> 31
