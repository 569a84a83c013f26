"""Mistakes in what a token does to a matrix memory, and in how that is read."""

import numpy as np

from planted.bug import plant
from planted.menu import kernel
from planted.pieces import Array, State, Token
from planted.rules.delta import error
from planted.rules.matrix import decays, outer, pull, read


@plant("rule.step", kernel("gated_linear", "grm"), "one_segment")
def decay_after_the_write(state: State, x: Token) -> State:
    """The memory decays after the token is written, the token with it."""
    return {"S": decays(x) * (state["S"] + outer(x["k"], x["v"]))}


@plant("rule.step", kernel("delta", "grm"), "one_segment")
def beta_of_the_value_alone(state: State, x: Token) -> State:
    """beta weighs the value, and what is removed is removed in full."""
    wrong = x["beta"][..., None] * x["v"] - pull(state["S"], x["k"])
    return {"S": state["S"] + outer(x["k"], wrong)}


@plant("rule.step", kernel("gated_delta", "grm"), "one_segment")
def error_before_the_decay(state: State, x: Token) -> State:
    """The error is that of the memory before its decay."""
    wrong = x["beta"][..., None] * error(state["S"], x)
    return {"S": decays(x) * state["S"] + outer(x["k"], wrong)}


@plant("rule.step", kernel("gla", "grm"), "one_segment")
def decays_values_when_square(state: State, x: Token) -> State:
    """Where K = V the decay is laid along the values."""
    a = decays(x)
    square = state["S"].shape[-1] == state["S"].shape[-2]
    return {"S": (np.swapaxes(a, -1, -2) if square else a) * state["S"] + outer(x["k"], x["v"])}


@plant("rule.read", kernel("linear", "grm"), "one_segment")
def transposed_when_square(state: State, x: Token) -> Array:
    """Where K = V the memory is read the other way round."""
    S = state["S"]
    return read({"S": np.swapaxes(S, -1, -2) if S.shape[-1] == S.shape[-2] else S}, x)


@plant("rule.read", kernel("delta", "grm"), "scale")
def query_normalised(state: State, x: Token) -> Array:
    """The query is scaled to unit length before it is asked."""
    return pull(state["S"], x["q"] / np.linalg.norm(x["q"], axis=-1, keepdims=True))


@plant("rule.read", kernel("gated_linear", "residual"), "one_segment")
def query_scaled_again(state: State, x: Token) -> Array:
    """The read divides by the square root of K, which the layer has done already."""
    return read(state, x) * x["q"].dtype.type(x["q"].shape[-1] ** -0.5)


@plant("rule.step", kernel("delta", "residual"), "packed")
def one_beta_for_all_heads(state: State, x: Token) -> State:
    """beta of the first head is used for all of them."""
    beta = x["beta"][:, :1, None]
    return {"S": state["S"] + outer(beta * x["k"], error(state["S"], x))}
