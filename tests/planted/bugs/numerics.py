"""Mistakes of carelessness: dtypes, buffers that outlive a call, arrays of the caller."""

from collections.abc import Sequence

import numpy as np

from planted.borders import keep
from planted.bug import plant
from planted.menu import kernel
from planted.mixing import answers_backward, blank
from planted.pieces import Array, Inputs, Rule, State, Token
from planted.routing import counts
from planted.rules import delta, matrix


@plant("borders.keep", kernel("gated_delta", "grm"), "dtype", "flash-linear-attention#1187")
def checkpoints_in_float16(after: Sequence[State]) -> State:
    """Checkpoints are kept in float16."""
    return {n: x.astype(np.float16).astype(x.dtype) for n, x in keep(after).items()}


@plant("rule.step", kernel("linear", "residual"), "dtype")
def sums_in_float32(state: State, x: Token) -> State:
    """The memory adds up in float32 although float64 is given."""
    return {n: s.astype(np.float32).astype(s.dtype) for n, s in matrix.step(state, x).items()}


@plant("mixing.blank", kernel("linear", "grm"), "dtype")
def answers_in_float64(inputs: Inputs) -> Array:
    """Answers come in float64, whatever is given."""
    return blank(inputs).astype(np.float64)


@plant("rule.step", kernel("delta", "grm"), "inputs_untouched")
def writes_into_the_values(state: State, x: Token) -> State:
    """The error is computed in place of the values, which are the caller's."""
    x["v"] -= matrix.pull(state["S"], x["k"])
    return {"S": state["S"] + matrix.outer(x["beta"][..., None] * x["k"], x["v"])}


@plant("mixing.mix_backward", kernel("linear", "grm"), "inputs_untouched")
def writes_into_dy(
    rule: Rule, memories: list[State], gates: Array, token: Token, dy: Array
) -> tuple[list[State], Array, Inputs]:
    """Backward uses dy, which is the caller's, as scratch."""
    found = answers_backward(rule, memories, gates, token, dy)
    dy *= gates[..., -1:]
    return found


SCRATCH: dict[tuple[int, ...], Array] = {}


@plant("mixing.blank", kernel("gla", "grm"), "nan_poison")
def answers_share_a_buffer(inputs: Inputs) -> Array:
    """Every call answers in the same buffer, so that a second call changes the first one's y."""
    fresh = blank(inputs)
    return SCRATCH.setdefault((*fresh.shape, fresh.itemsize), fresh)


REMEMBERED: dict[tuple[int, ...], State] = {}


@plant("rule.step", kernel("gated_linear", "none"), "nan_poison")
def state_of_the_last_call(state: State, x: Token) -> State:
    """The memory lives in the kernel, and the first token finds what the last call left."""
    shape = (*state["S"].shape, state["S"].itemsize)
    if x["position"] == 0:
        state = REMEMBERED.get(shape, state)
    REMEMBERED[shape] = matrix.step(state, x)
    return REMEMBERED[shape]


@plant("routing.pool", kernel("gated_delta", "grm"), "nan_poison", "flash-linear-attention#1104")
def sums_begin_in_an_uncleared_buffer(keys: Array) -> Array:
    """Running sums are added to memory that nobody has set to zero."""
    sums = np.empty_like(keys)
    sums[:, 0] += keys[:, 0]
    for t in range(1, keys.shape[1]):
        sums[:, t] = sums[:, t - 1] + keys[:, t]
    return sums / counts(keys)


@plant("rule.step", kernel("delta", "none"), "dtype", "linear-memory-routing's kernels")
def rounded_errors(state: State, x: Token) -> State:
    """The operands of the delta rule's products are rounded to 16 bits."""
    k = x["k"].astype(np.float16).astype(x["k"].dtype)
    return delta.step(state, {**x, "k": k})
