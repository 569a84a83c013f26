"""Terms missing from the gradients at the borders of segments; forward is right."""

from collections.abc import Iterable

import numpy as np

from planted.bug import plant
from planted.menu import kernel
from planted.pieces import Inputs, State, Token, plus, times, zeros
from planted.rules import delta, matrix


@plant("borders.enter", kernel("gru", "grm"), "gradients", "memory-caching-benchmark")
def caches_detached(d_state: State, d_checkpoint: State) -> State:
    """Checkpoints count as constant: nothing that is read later teaches what is written now."""
    return d_state


@plant("borders.enter", kernel("gated_linear", "residual", "checkpoint"), "gradients")
def checkpoint_replaces_the_carry(d_state: State, d_checkpoint: State) -> State:
    """A checkpoint's gradient replaces the one that flows back over the border."""
    return d_checkpoint


@plant("borders.enter", kernel("gated_delta", "residual"), "gradients")
def checkpoint_counted_twice(d_state: State, d_checkpoint: State) -> State:
    """A checkpoint's gradient is added twice."""
    return plus(d_state, times(2.0, d_checkpoint))


@plant("borders.start_backward", kernel("lstm", "none", "checkpoint"), "gradients")
def stopped_at_the_border(d_start: State) -> tuple[State, State]:
    """In checkpoint mode the gradient ends at the border: truncated where it should go on."""
    return d_start, zeros(d_start)


@plant("borders.walk", kernel("linear", "grm"), "gradients")
def first_token_forgotten(begin: int, end: int) -> Iterable[int]:
    """The loop of backward ends before the row's first token."""
    return reversed(range(max(begin, 1), end))


@plant("borders.walk", kernel("delta", "none"), "gradients")
def last_token_of_segments_forgotten(begin: int, end: int) -> Iterable[int]:
    """The loop of backward begins before the segment's last token."""
    return reversed(range(begin, max(end - 1, begin + 1)))


@plant("rule.step_backward", kernel("gated_linear", "grm", "checkpoint"), "gradients")
def no_decay_across_the_border(state: State, x: Token, d_state: State) -> tuple[State, Inputs]:
    """A segment's first decay takes no gradient from the state carried over the border."""
    d_before, d_x = matrix.step_backward(state, x, d_state)
    if x["position"] == 0:
        d_x["log_decay"] = np.zeros_like(d_x["log_decay"])
    return d_before, d_x


@plant("rule.step_backward", kernel("gated_delta", "none", "checkpoint"), "gradients")
def first_tokens_state_held(state: State, x: Token, d_state: State) -> tuple[State, Inputs]:
    """The first token of a segment is differentiated as if its memory were empty."""
    empty = zeros(state) if x["position"] == 0 else state
    return delta.step_backward(empty, x, d_state)


@plant("rule.step_backward", kernel("gla", "grm"), "gradients", "flash-linear-attention#1142")
def last_gate_of_a_segment_dropped(state: State, x: Token, d_state: State) -> tuple[State, Inputs]:
    """The decay of a segment's last token takes no gradient."""
    d_before, d_x = matrix.step_backward(state, x, d_state)
    if x["left"] == 0:
        d_x["log_decay"] = np.zeros_like(d_x["log_decay"])
    return d_before, d_x


@plant("rule.initial_backward", kernel("titans", "residual"), "gradients")
def start_of_the_first_row(inputs: Inputs, d_initial: State) -> Inputs:
    """The perceptron's start takes its gradient from the first row of the batch alone."""
    return {name: d_initial[name][0] for name in ("w_in", "w_out")}


@plant("rule.initial_backward", kernel("dla", "none"), "gradients")
def start_averaged_over_rows(inputs: Inputs, d_initial: State) -> Inputs:
    """The gradient of the perceptron's start is averaged over the batch instead of summed."""
    return {name: d_initial[name].mean(axis=0) for name in ("w_in", "w_out")}
