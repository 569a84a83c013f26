"""Perceptrons that descend: M(x) = x + gelu(x w_in) w_out, trained by each token.

    dla:     M <- a M - step grad(-<M(k), v>)
    titans:  P <- momentum P - step grad(1/2 |M(k) - v|^2),  M <- a M + P

A state holds `w_in` (B, H, K, E) and `w_out` (B, H, E, V); that of titans also the momenta `p_in`,
`p_out` of the same shapes.
"""

from math import erf, pi, sqrt
from typing import NamedTuple

import numpy as np

from planted.pieces import Array, Inputs, Rule, State, Token, plus, times
from planted.rules.matrix import QKV, outer, pull, push


class Bend(NamedTuple):
    """Exact GELU of the hidden units, its slope and the slope's slope."""

    value: Array
    slope: Array
    curvature: Array


def bend(a: Array) -> Bend:
    """`a Phi(a)`, `Phi + a N`, `N (2 - a^2)`."""
    below = 0.5 * (1 + np.vectorize(erf, otypes=[a.dtype])(a * sqrt(0.5)))
    density = np.exp(-0.5 * a * a) / sqrt(2 * pi)
    return Bend(a * below, below + a * density, density * (2 - a * a))


def weights_of(inputs: Inputs) -> State:
    """`w_in` and `w_out`, for every row the same."""
    rows = inputs["k"].shape[0]
    return {n: np.broadcast_to(inputs[n], (rows, *inputs[n].shape)) for n in ("w_in", "w_out")}


def resting(inputs: Inputs) -> State:
    """The given weights, and no momentum yet."""
    weights = weights_of(inputs)
    return {**weights, **_renamed({name: 0 * w for name, w in weights.items()})}


def initial_backward(inputs: Inputs, d_initial: State) -> Inputs:
    """The rows share the weights."""
    return {name: d_initial[name].sum(axis=0) for name in ("w_in", "w_out")}


def read(state: State, x: Token) -> Array:
    """`M(q)`."""
    answer: Array = x["q"] + pull(state["w_out"], bend(pull(state["w_in"], x["q"])).value)
    return answer


def read_backward(state: State, x: Token, dy: Array) -> tuple[State, Inputs]:
    """Through both layers; the momentum is not looked at."""
    hidden = bend(pull(state["w_in"], x["q"]))
    d_hidden = push(state["w_out"], dy) * hidden.slope
    d_state = {"w_in": outer(x["q"], d_hidden), "w_out": outer(hidden.value, dy)}
    return d_state, {"q": dy + push(state["w_in"], d_hidden)}


def inner_error(answer: Array, x: Token) -> Array:
    """Gradient of titans' inner loss with respect to the answer: `M(k) - v`."""
    wrong: Array = answer - x["v"]
    return wrong


def inner_gradient(state: State, x: Token, squared: bool) -> State:
    """Gradient of the inner loss with respect to the weights."""
    hidden = bend(pull(state["w_in"], x["k"]))
    answer = x["k"] + pull(state["w_out"], hidden.value)
    r = inner_error(answer, x) if squared else -x["v"]
    d_hidden = push(state["w_out"], r) * hidden.slope
    return {"w_in": outer(x["k"], d_hidden), "w_out": outer(hidden.value, r)}


def inner_gradient_backward(
    state: State, x: Token, squared: bool, dG: State
) -> tuple[State, Inputs]:
    """Second order: gradients of the weights, of k and of v."""
    w_in, w_out, k = state["w_in"], state["w_out"], x["k"]
    hidden = bend(pull(w_in, k))
    answer = k + pull(w_out, hidden.value)
    r = inner_error(answer, x) if squared else -x["v"]
    pulled = push(w_out, r)
    d_step = pull(dG["w_in"], k)
    d_pulled = d_step * hidden.slope
    dr = pull(dG["w_out"], hidden.value) + pull(w_out, d_pulled)
    d_answer = dr if squared else 0 * dr
    d_value = push(dG["w_out"], r) + push(w_out, d_answer)
    d_hidden = d_step * pulled * hidden.curvature + d_value * hidden.slope
    dk = push(dG["w_in"], pulled * hidden.slope) + d_answer + push(w_in, d_hidden)
    d_weights = {
        "w_in": outer(k, d_hidden),
        "w_out": outer(d_pulled, r) + outer(hidden.value, d_answer),
    }
    return d_weights, {"k": dk, "v": -dr}


def dla_step(state: State, x: Token) -> State:
    """`M <- a M - step G`."""
    G = inner_gradient(state, x, squared=False)
    return plus(times(np.exp(x["log_decay"]), state), times(-x["step"], G))


def dla_step_backward(state: State, x: Token, d_state: State) -> tuple[State, Inputs]:
    """`dG = -step dM`, and G once more backwards."""
    a = np.exp(x["log_decay"])
    G = inner_gradient(state, x, squared=False)
    through, d_x = inner_gradient_backward(state, x, False, times(-x["step"], d_state))
    d_x["step"] = -inner(d_state, G)
    d_x["log_decay"] = a * inner(d_state, state)
    return plus(times(a, d_state), through), d_x


def titans_step(state: State, x: Token) -> State:
    """`P <- momentum P - step G`, `M <- a M + P`."""
    weights, momenta = halves(state)
    G = inner_gradient(weights, x, squared=True)
    momenta = plus(times(x["momentum"], momenta), times(-x["step"], G))
    return {**plus(times(np.exp(x["log_decay"]), weights), momenta), **_renamed(momenta)}


def titans_step_backward(state: State, x: Token, d_state: State) -> tuple[State, Inputs]:
    """`dP += dM`, `dG = -step dP`, and G once more backwards."""
    (weights, momenta), (dM, dP) = halves(state), halves(d_state)
    a = np.exp(x["log_decay"])
    G = inner_gradient(weights, x, squared=True)
    dP = plus(dP, dM)
    through, d_x = inner_gradient_backward(weights, x, True, times(-x["step"], dP))
    d_x["step"] = -inner(dP, G)
    d_x["momentum"] = inner(dP, momenta)
    d_x["log_decay"] = a * inner(dM, weights)
    return {**plus(times(a, dM), through), **_renamed(times(x["momentum"], dP))}, d_x


def halves(state: State) -> tuple[State, State]:
    """The weights and their momenta, both by the names of the weights."""
    zero = np.zeros(1, state["w_in"].dtype)
    momenta = {n: state.get(n.replace("w_", "p_"), zero) for n in ("w_in", "w_out")}
    return {n: state[n] for n in ("w_in", "w_out")}, momenta


def inner(a: State, b: State) -> Array:
    """<a, b> per row and head, over the names of b."""
    total: Array = sum((a[name] * b[name]).sum(axis=(-2, -1)) for name in b)
    return total


def _renamed(weights: State) -> State:
    return {name.replace("w_", "p_"): array for name, array in weights.items()}


PARAMETERS = ("w_in", "w_out")
DLA = Rule(
    (*QKV, "step", "log_decay"),
    PARAMETERS,
    weights_of,
    initial_backward,
    dla_step,
    dla_step_backward,
    read,
    read_backward,
)
TITANS = Rule(
    (*QKV, "step", "momentum", "log_decay"),
    PARAMETERS,
    resting,
    initial_backward,
    titans_step,
    titans_step_backward,
    read,
    read_backward,
)
