"""Mistakes at the borders of segments: where they lie, what is kept, what is seen."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np

from planted.borders import cut
from planted.bug import plant
from planted.menu import kernel
from planted.pieces import Span, State, Token, times
from planted.rules.matrix import decays, step


@plant("borders.cut", kernel("gated_delta", "grm"), "borders", "flash-linear-attention#906")
def last_segment_missing(lengths: Sequence[int]) -> list[Span]:
    """A last segment shorter than the first is left out, and its answers stay zero."""
    return cut(lengths[:-1] if lengths[-1] < lengths[0] else lengths)


@plant("borders.cut", kernel("linear", "grm"), "split")
def border_one_early(lengths: Sequence[int]) -> list[Span]:
    """The last token of each segment counts to the next one."""
    ends = [0, *accumulate(lengths)]
    inner = [max(end - 1, before + 1) for before, end in pairwise(ends[:-1])]
    return list(pairwise([0, *inner, ends[-1]]))


@plant("borders.cut", kernel("delta", "ssc"), "split")
def border_one_late(lengths: Sequence[int]) -> list[Span]:
    """The first token of each segment counts to the one before."""
    ends = [0, *accumulate(lengths)]
    inner = [min(end + 1, after - 1) for end, after in pairwise(ends[1:])]
    return list(pairwise(sorted({0, *inner, ends[-1]})))


@plant("borders.keep", kernel("gated_linear", "grm"), "agreement")
def stale_checkpoint(after: Sequence[State]) -> State:
    """The checkpoint is the state before the segment's last token."""
    return after[max(len(after) - 2, 0)]


@plant("borders.start", kernel("linear", "residual"), "residual_linear")
def reset_forgotten(initial: State, before: State | None, first: Token) -> State:
    """Independent segments go on where the last one ended, so that early tokens count again."""
    return initial if before is None else before


@plant("borders.start", kernel("linear", "residual", "checkpoint"), "residual_checkpoint")
def reset_where_it_should_carry(initial: State, before: State | None, first: Token) -> State:
    """Segments start afresh although they should go on where the last one ended."""
    return initial


@plant("borders.visible", kernel("lstm", "residual"), "causality")
def own_end_is_seen(segment: int) -> Sequence[int]:
    """A segment's state at its end is added to the answers of its own tokens."""
    return range(segment + 1)


@plant("borders.visible", kernel("lstm", "moving_average"), "causality", "an LSTM wrapper")
def own_end_and_no_other(segment: int) -> Sequence[int]:
    """Tokens see the end of their own segment, and no other checkpoint at all."""
    return [segment]


@plant("borders.visible", kernel("linear", "residual"), "residual_linear")
def only_the_newest_checkpoint(segment: int) -> Sequence[int]:
    """Tokens see the checkpoint just before their segment, and no older one."""
    return range(max(segment - 1, 0), segment)


@plant("borders.visible", kernel("gru", "grm"), "length_one_attention")
def newest_checkpoint_late(segment: int) -> Sequence[int]:
    """A checkpoint is seen one segment too late."""
    return range(max(segment - 1, 0))


@plant("borders.visible", kernel("linear", "moving_average"), "permutation")
def first_checkpoint_unseen(segment: int) -> Sequence[int]:
    """The loop over checkpoints begins with the second one."""
    return range(1, segment)


@plant("rule.step", kernel("gated_linear", "none", "checkpoint"), "split")
def decayed_twice_at_borders(state: State, x: Token) -> State:
    """What a segment takes over decays once when it is handed on, and once with its first token."""
    if x["position"] == 0:
        state = {"S": decays(x) * state["S"]}
    return step(state, x)


@plant("borders.keep", kernel("delta", "residual"), "packed")
def heads_read_the_first_head(after: Sequence[State]) -> State:
    """Checkpoints of all heads are those of the first one."""
    return {name: np.repeat(x[:, :1], x.shape[1], axis=1) for name, x in after[-1].items()}


@plant("borders.keep", kernel("gla", "residual"), "packed")
def rows_in_the_wrong_order(after: Sequence[State]) -> State:
    """The cache holds the rows of the batch the other way round."""
    return {name: x[::-1] for name, x in after[-1].items()}


@plant("borders.keep", kernel("dla", "residual"), "agreement")
def checkpoint_is_an_average(after: Sequence[State]) -> State:
    """The checkpoint is the mean of the states before and after the last token."""
    last, before = after[-1], after[max(len(after) - 2, 0)]
    return {name: (last[name] + before[name]) / 2 for name in last}


@plant("borders.start", kernel("titans", "grm"), "permutation")
def momentum_survives(initial: State, before: State | None, first: Token) -> State:
    """An independent segment resets the perceptron and keeps the momentum."""
    if before is None:
        return initial
    return {name: (before if name.startswith("p_") else initial)[name] for name in initial}


@plant("borders.start", kernel("mlstm", "none", "checkpoint"), "split")
def maximum_left_behind(initial: State, before: State | None, first: Token) -> State:
    """C and n are carried over a border, the running maximum that scales them is not."""
    return initial if before is None else {**before, "m": initial["m"]}


@plant("borders.start", kernel("lstm", "grm", "checkpoint"), "hybrid")
def cell_left_behind(initial: State, before: State | None, first: Token) -> State:
    """The hidden state is carried over a border, the cell is not."""
    return initial if before is None else {**before, "c": initial["c"]}


@plant("borders.start", kernel("gated_linear", "residual", "checkpoint"), "agreement")
def decayed_for_the_wrong_segment(initial: State, before: State | None, first: Token) -> State:
    """The state is decayed by the first token already when the segment before hands it on."""
    return initial if before is None else times(np.exp(first["log_decay"]), before)
