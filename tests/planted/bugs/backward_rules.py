"""Terms missing from the gradients of a token's write or read; forward is right."""

from collections.abc import Callable
from typing import Any

import numpy as np

from planted.bug import plant
from planted.menu import kernel
from planted.pieces import Array, Inputs, State, Token, plus, times
from planted.rules import deep, delta, matrix, mlstm, vector

Step = tuple[State, Inputs]
StepBackward = Callable[[State, Token, State], Step]


def without(name: str, step_backward: StepBackward, *arguments: Any) -> Step:
    """A step's gradients, that of one input zero."""
    d_state, d_x = step_backward(*arguments)
    return d_state, {**d_x, name: 0 * d_x[name]}


@plant("rule.step_backward", kernel("linear", "grm"), "gradients")
def keys_without_the_write(state: State, x: Token, d_state: State) -> Step:
    """Keys take no gradient from what they write, only from gates."""
    return without("k", matrix.step_backward, state, x, d_state)


@plant("rule.step_backward", kernel("gla", "grm"), "gradients", "flash-linear-attention#6")
def no_gradient_of_values(state: State, x: Token, d_state: State) -> Step:
    """Values take no gradient."""
    return without("v", matrix.step_backward, state, x, d_state)


@plant("rule.step_backward", kernel("gated_delta", "grm"), "gradients")
def no_gradient_of_beta(state: State, x: Token, d_state: State) -> Step:
    """beta takes no gradient."""
    return without("beta", delta.step_backward, state, x, d_state)


@plant("rule.step_backward", kernel("gla", "residual"), "gradients")
def decay_missing_on_the_way_back(state: State, x: Token, d_state: State) -> Step:
    """The online state's gradient does not decay on its way back."""
    return d_state, matrix.step_backward(state, x, d_state)[1]


@plant("rule.step_backward", kernel("gated_linear", "residual"), "gradients")
def decay_itself_for_its_logarithm(state: State, x: Token, d_state: State) -> Step:
    """The gradient is that of the decay a, where that of log a is asked for."""
    d_before, d_x = matrix.step_backward(state, x, d_state)
    return d_before, {**d_x, "log_decay": d_x["log_decay"] / np.exp(x["log_decay"])}


@plant("rule.step_backward", kernel("delta", "grm"), "gradients")
def key_of_the_removal_held(state: State, x: Token, d_state: State) -> Step:
    """The key that writes is differentiated, the key that removes is not."""
    d_before, d_x = delta.step_backward(state, x, d_state)
    e = delta.error(matrix.decays(x) * state["S"], x)
    return d_before, {**d_x, "k": x["beta"][..., None] * matrix.push(d_state["S"], e)}


@plant("rule.step_backward", kernel("delta", "ssc"), "gradients")
def removal_missing_on_the_way_back(state: State, x: Token, d_state: State) -> Step:
    """The memory's gradient passes the removal as if nothing were removed."""
    return d_state, delta.step_backward(state, x, d_state)[1]


@plant("rule.read_backward", kernel("mlstm", "grm"), "gradients")
def denominator_held(state: State, x: Token, dy: Array) -> Step:
    """The read's denominator counts as constant."""
    along = np.abs((state["n"] * x["q"]).sum(axis=-1))
    above = dy / (np.maximum(along, mlstm.floor(state)) + mlstm.EPS)[..., None]
    held = {"n": 0 * state["n"], "m": 0 * state["m"]}
    return {"C": matrix.outer(x["q"], above), **held}, {"q": matrix.push(state["C"], above)}


@plant("rule.step_backward", kernel("mlstm", "residual"), "gradients")
def normaliser_forgets_the_input_gate(state: State, x: Token, d_state: State) -> Step:
    """The input gate takes a gradient from C and not from n."""
    d_before, d_x = mlstm.step_backward(state, x, d_state)
    held = {**d_state, "n": 0 * d_state["n"]}
    return d_before, {**d_x, "igate": mlstm.step_backward(state, x, held)[1]["igate"]}


@plant("rule.step_backward", kernel("mlstm", "ssc"), "gradients", "flash-linear-attention#875")
def keys_without_the_normaliser(state: State, x: Token, d_state: State) -> Step:
    """Keys take a gradient from C and not from n, which divides the reads."""
    d_before, d_x = mlstm.step_backward(state, x, d_state)
    held = {**d_state, "n": 0 * d_state["n"]}
    return d_before, {**d_x, "k": mlstm.step_backward(state, x, held)[1]["k"]}


@plant("rule.step_backward", kernel("titans", "grm"), "gradients", "memory_caching")
def inner_gradient_held(state: State, x: Token, d_state: State) -> Step:
    """The inner gradient counts as constant: v takes none at all, k from gates alone."""
    weights, momenta = deep.halves(state)
    dM, dP = deep.halves(d_state)
    dP, a = plus(dP, dM), np.exp(x["log_decay"])
    G = deep.inner_gradient(weights, x, squared=True)
    d_x = {"step": -deep.inner(dP, G), "momentum": deep.inner(dP, momenta)}
    d_x["log_decay"] = a * deep.inner(dM, weights)
    back = times(x["momentum"], dP)
    return {**times(a, dM), "p_in": back["w_in"], "p_out": back["w_out"]}, d_x


@plant("rule.step_backward", kernel("dla", "grm"), "gradients")
def curvature_left_out(state: State, x: Token, d_state: State) -> Step:
    """The inner gradient's own dependence on the weights, its second order, is left out."""
    d_x = deep.dla_step_backward(state, x, d_state)[1]
    return times(np.exp(x["log_decay"]), d_state), d_x


@plant("rule.step_backward", kernel("titans", "none"), "gradients")
def no_gradient_of_momentum(state: State, x: Token, d_state: State) -> Step:
    """The momentum's gate takes no gradient."""
    return without("momentum", deep.titans_step_backward, state, x, d_state)


@plant("rule.step_backward", kernel("lstm", "grm"), "gradients")
def cell_passes_no_gradient(state: State, x: Token, d_state: State) -> Step:
    """The cell's gradient ends at every token: only h carries it back."""
    d_before, d_x = vector.lstm_step_backward(state, x, d_state)
    return {**d_before, "c": 0 * d_before["c"]}, d_x


@plant("rule.step_backward", kernel("gru", "grm"), "gradients")
def direct_path_left_out(state: State, x: Token, d_state: State) -> Step:
    """The gradient that passes the update gate straight to h is left out."""
    d_before, d_x = vector.gru_step_backward(state, x, d_state)
    z = vector.gru_gates(state["h"], x)[1]
    return {"h": d_before["h"] - d_state["h"] * z}, d_x


@plant("rule.step_backward", kernel("gru", "residual"), "gradients")
def bias_of_the_first_row(state: State, x: Token, d_state: State) -> Step:
    """The recurrent bias takes its gradient from the first row of the batch alone."""
    r, z, n, _ = vector.gru_gates(state["h"], x)
    through = d_state["h"] * (1 - z) * (1 - n * n) * r
    d_before, d_x = vector.gru_step_backward(state, x, d_state)
    return d_before, {**d_x, "recurrent_bias": through[0]}
