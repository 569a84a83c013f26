"""Perceptrons as memories: one head's weights, trained by each token on its key and value.

M(x) = x + gelu(x @ w_in) @ w_out. Inner gradients are taken by autograd, so no derivative is
written here. Sources: Behrouz et al. 2026, Eq. 30-36; Titans (arXiv:2501.00663), Eq. 13-14 for the
signs; chunks start at the segment's first token.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import autograd
import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive
from autograd.tracer import getval

Rule = Mapping[str, Any]
Token = Mapping[str, Any]
Pair = tuple[Any, Any]
"""w_in (K, E) and w_out (E, V), or something of their shapes."""

erf = primitive(np.vectorize(math.erf, otypes=[float]))
defvjp(erf, lambda _, x: lambda g: g * 2.0 / math.sqrt(math.pi) * anp.exp(-(x**2)))


class DeepMemory(NamedTuple):
    """One head's memory.

    The weights, their momentum, the weights at the chunk's start, the segment's tokens so far, and
    what the weights are the image of.
    """

    weights: Pair
    momentum: Pair
    anchor: Pair
    written: int
    source: Pair


def empty_deep(rule: Rule, token: Token) -> DeepMemory:
    """The memory at the start of an independent segment: of the weights that are given."""
    source = token["w_in"], token["w_out"]
    weights = image(rule, source)
    return DeepMemory(weights, combined(weights, scale=0.0), weights, 0, source)


def image(rule: Rule, source: Pair) -> Pair:
    """The weights of a source: itself, or the mirror map of Moneta or Memora."""
    form = IMAGES.get(rule["kind"])
    return source if form is None else (form(source[0]), form(source[1]))


def quartic(a: Any) -> Any:
    """A |A|^2 / |A|_4^2, in units of the largest entry, which cancel."""
    b = anp.abs(a) / np.max(np.abs(getval(a)))
    return a * b**2 / (anp.sum(b**4) ** 0.25) ** 2


def probabilities(a: Any) -> Any:
    """softmax along the inputs, which come first."""
    weights = anp.exp(a - np.max(getval(a)))
    return weights / anp.sum(weights, axis=0)


IMAGES: dict[str, Callable[[Any], Any]] = {"moneta": quartic, "memora": probabilities}


def perceive(weights: Pair, x: Any) -> Any:
    """M(x)."""
    hidden = anp.dot(x, weights[0])
    active = hidden * (1.0 + erf(hidden / math.sqrt(2.0))) / 2.0
    return x + anp.dot(active, weights[1])


def write_deep(rule: Rule, memory: DeepMemory, token: Token) -> DeepMemory:
    """S = momentum S - step G(anchor), then M = exp(log_decay) M + S; without momentum S is new."""
    fresh = memory.written % rule.get("chunk", 1) == 0
    anchor = memory.weights if fresh else memory.anchor
    slope = autograd.grad(lambda weights: LOSSES[rule["kind"]](weights, token))(anchor)
    momentum = combined(
        memory.momentum, slope, scale=token.get("momentum", 0.0), other=-token["step"]
    )
    source = combined(memory.source, momentum, scale=anp.exp(token["log_decay"]))
    return DeepMemory(image(rule, source), momentum, anchor, memory.written + 1, source)


def combined(first: Pair, second: Pair = (0.0, 0.0), scale: Any = 1.0, other: Any = 1.0) -> Pair:
    """`scale first + other second`, matrix by matrix."""
    return scale * first[0] + other * second[0], scale * first[1] + other * second[1]


def dot_loss(weights: Pair, token: Token) -> Any:
    """-<M(k), v>."""
    return -anp.dot(perceive(weights, token["k"]), token["v"])


def square_loss(weights: Pair, token: Token) -> Any:
    """1/2 |M(k) - v|^2."""
    return anp.sum((perceive(weights, token["k"]) - token["v"]) ** 2) / 2.0


def cubic_loss(weights: Pair, token: Token) -> Any:
    """|M(k) - v|_3^3."""
    return anp.sum(anp.abs(perceive(weights, token["k"]) - token["v"]) ** 3)


def huber_loss(weights: Pair, token: Token) -> Any:
    """With r = |M(k) - v|: r^2 / 2 up to delta, then delta (r - delta / 2)."""
    r, delta = anp.sqrt(2.0 * square_loss(weights, token)), token["delta"]
    return r**2 / 2.0 if getval(r) <= getval(delta) else delta * (r - delta / 2.0)


LOSSES: dict[str, Callable[[Pair, Token], Any]] = {
    "dla": dot_loss,
    "titans": square_loss,
    "yaad": huber_loss,
    "moneta": cubic_loss,
    "memora": square_loss,
}
