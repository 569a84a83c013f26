"""Mistakes in perceptrons that descend: signs, starts, where the gradient is taken."""

import numpy as np

from planted.bug import plant
from planted.menu import kernel
from planted.mixing import answers
from planted.pieces import Array, Inputs, Rule, State, Token, plus, times
from planted.rules.deep import (
    dla_step,
    halves,
    inner_gradient,
    resting,
    titans_step,
    weights_of,
)
from planted.rules.matrix import pull


def moved(weights: State, momenta: State, x: Token) -> State:
    """`M <- a M + P`, and the momenta P."""
    after = plus(times(np.exp(x["log_decay"]), weights), momenta)
    return {**after, "p_in": momenta["w_in"], "p_out": momenta["w_out"]}


@plant("rule.step", kernel("titans", "grm"), "inner_loss", "memory_caching; printed signs")
def momentum_subtracted(state: State, x: Token) -> State:
    """M = a M - S with S = b S - e G, as printed: two minus signs make ascent of descent."""
    weights, momenta = halves(state)
    G = inner_gradient(weights, x, squared=True)
    momenta = plus(times(x["momentum"], momenta), times(-x["step"], G))
    after = plus(times(np.exp(x["log_decay"]), weights), times(-1.0, momenta))
    return {**after, "p_in": momenta["w_in"], "p_out": momenta["w_out"]}


@plant("rule.step", kernel("dla", "grm"), "inner_loss")
def uphill(state: State, x: Token) -> State:
    """The inner step climbs."""
    return dla_step(state, {**x, "step": -x["step"]})


@plant("rule.initial", kernel("titans", "grm"), "query_dependence", "memory_caching")
def starts_at_zero(inputs: Inputs) -> State:
    """The perceptron starts with zero weights, whose gradients are zero for ever."""
    return times(0.0, resting(inputs))


@plant("rule.initial", kernel("dla", "residual"), "inner_loss", "memory_caching")
def starts_at_zero_without_momentum(inputs: Inputs) -> State:
    """The perceptron starts with zero weights, and no query changes what it says."""
    return times(0.0, weights_of(inputs))


@plant("rule.step", kernel("titans", "none"), "one_segment", "titans-pytorch in chunks")
def gradients_at_the_segments_start(state: State, x: Token) -> State:
    """All gradients of a segment are taken at the memory it started from."""
    weights, momenta = halves(state)
    if x["position"] == 0:
        state = {**state, "a_in": weights["w_in"], "a_out": weights["w_out"]}
    anchor = {"w_in": state["a_in"], "w_out": state["a_out"]}
    G = inner_gradient(anchor, x, squared=True)
    momenta = plus(times(x["momentum"], momenta), times(-x["step"], G))
    return {**moved(weights, momenta, x), "a_in": anchor["w_in"], "a_out": anchor["w_out"]}


@plant("rule.step", kernel("titans", "residual"), "one_segment")
def gradient_of_the_decayed_memory(state: State, x: Token) -> State:
    """The inner gradient is taken at the memory after its decay."""
    weights, momenta = halves(state)
    G = inner_gradient(times(np.exp(x["log_decay"]), weights), x, squared=True)
    return moved(weights, plus(times(x["momentum"], momenta), times(-x["step"], G)), x)


@plant("rule.step", kernel("titans", "grm"), "inner_loss", "flash-linear-attention, naive titans")
def fits_value_minus_key(state: State, x: Token) -> State:
    """The memory learns v - k where v is its target."""
    return titans_step(state, {**x, "v": x["v"] - x["k"]})


@plant("rule.step", kernel("titans", "ssc"), "one_segment", "titans-pytorch")
def mean_of_squared_errors(state: State, x: Token) -> State:
    """The inner loss is averaged over channels instead of summed."""
    return titans_step(state, {**x, "step": x["step"] / x["v"].dtype.type(x["v"].shape[-1])})


@plant("rule.step", kernel("dla", "ssc"), "packed", "memory_caching")
def inner_loss_averaged_over_the_batch(state: State, x: Token) -> State:
    """The inner loss is a mean over rows and heads, so that a row learns slower in company."""
    return dla_step(state, {**x, "step": x["step"] / x["step"].dtype.type(x["step"].size)})


@plant("rule.step", kernel("titans", "grm"), "one_segment", "memory_caching")
def constant_coefficients(state: State, x: Token) -> State:
    """Step, momentum and decay are constants instead of functions of the token."""
    gates = {name: np.full_like(x[name], 0.1) for name in ("step", "momentum")}
    return titans_step(state, {**x, **gates, "log_decay": np.zeros_like(x["log_decay"])})


@plant("rule.read", kernel("dla", "none"), "one_segment")
def gelu_by_its_tanh_formula(state: State, x: Token) -> Array:
    """The read uses the tanh approximation of GELU, the write the exact one."""
    a = pull(state["w_in"], x["q"])
    bent = 0.5 * a * (1 + np.tanh(np.sqrt(2 / np.pi) * (a + 0.044715 * a**3)))
    return x["q"] + pull(state["w_out"], bent.astype(a.dtype))


@plant("mixing.mix", kernel("dla", "soup"), "soup_grm")
def soup_is_grm(rule: Rule, memories: list[State], gates: Array, token: Token) -> Array:
    """The answers of perceptrons are mixed where their weights should be."""
    return answers(rule, memories, gates, token)
