"""What a kernel is made of: groups of small functions. A planted bug replaces one of them.

A state is a dict of arrays (B, H, ...), a token a dict of arrays (B, H, ...) beside the whole
parameters; its `position` counts the segment's tokens before it, `left` those after it. Gradients
have the shapes of what they are gradients of.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any
State = dict[str, Array]
Token = dict[str, Any]
Inputs = dict[str, Array]
Span = tuple[int, int]


@dataclass(frozen=True)
class Rule:
    """A recurrence.

    Attributes:
        tokens: names of the inputs that have a time axis.
        parameters: names of those that have none.
        initial: inputs -> the state before the first token.
        initial_backward: inputs, gradient of that state -> gradients of parameters.
        step: state, token -> the state after the token.
        step_backward: state, token, gradient of the state after -> of the state, of the token.
        read: state, token -> the answer (B, H, V).
        read_backward: state, token, gradient of the answer -> of the state, of the token.
    """

    tokens: tuple[str, ...]
    parameters: tuple[str, ...]
    initial: Callable[[Inputs], State]
    initial_backward: Callable[[Inputs, State], Inputs]
    step: Callable[[State, Token], State]
    step_backward: Callable[[State, Token, State], tuple[State, Inputs]]
    read: Callable[[State, Token], Array]
    read_backward: Callable[[State, Token, Array], tuple[State, Inputs]]


@dataclass(frozen=True)
class Borders:
    """Where segments begin and end, and what passes from one to the next.

    Attributes:
        cut: lengths -> spans (begin, end).
        start: initial state, end state of the segment before (None at first), its first token
            -> the state that the segment starts from.
        start_backward: gradient of that state -> of the initial state, of the end state before.
        keep: states after the tokens of a segment -> the checkpoint.
        enter: gradient that flows back at a segment's end, gradient of its checkpoint -> both.
        visible: number of a segment -> numbers of the checkpoints that its tokens see.
        walk: begin, end -> the tokens of a segment in the order of backward.
    """

    cut: Callable[[Sequence[int]], list[Span]]
    start: Callable[[State, State | None, Token], State]
    start_backward: Callable[[State], tuple[State, State]]
    keep: Callable[[Sequence[State]], State]
    enter: Callable[[State, State], State]
    visible: Callable[[int], Sequence[int]]
    walk: Callable[[int, int], Iterable[int]]


@dataclass(frozen=True)
class Routing:
    """Gates from content. N memories are visible to a token, the online one last.

    Attributes:
        ask: u (B, T, H, K), t -> the query for memories of token t (B, H, K).
        pool: keys of a segment (B, L, H, K) -> running contexts; the last is the segment's own.
        pool_backward: gradient of those -> of the keys.
        score: query (B, H, K), contexts (B, N, H, K) -> logits (B, H, N).
        score_backward: query, contexts, gradient of logits -> of the query, of the contexts.
        choose: logits -> which memories count (B, H, N).
        normalise: logits, which count -> gates (B, H, N).
        normalise_backward: gates, their gradient -> gradient of the logits.
    """

    ask: Callable[[Array, int], Array]
    pool: Callable[[Array], Array]
    pool_backward: Callable[[Array], Array]
    score: Callable[[Array, Array], Array]
    score_backward: Callable[[Array, Array, Array], tuple[Array, Array]]
    choose: Callable[[Array], Array]
    normalise: Callable[[Array, Array], Array]
    normalise_backward: Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Mixing:
    """What the visible memories of a token give together.

    Attributes:
        blank: inputs -> zeros (B, T, H, V) in which answers are put.
        share: number of visible memories -> constant gates (N,), where nothing routes.
        mix: rule, memories, gates (B, H, N), token -> y (B, H, V).
        mix_backward: the same and dy -> gradients of the memories, the gates, the token.
    """

    blank: Callable[[Inputs], Array]
    share: Callable[[int], Array]
    mix: Callable[[Rule, list[State], Array, Token], Array]
    mix_backward: Callable[
        [Rule, list[State], Array, Token, Array], tuple[list[State], Array, Inputs]
    ]


def plus(a: State, b: State) -> State:
    """The sum, name by name; a name that one lacks counts as zero."""
    return {name: a.get(name, 0) + b.get(name, 0) for name in {**a, **b}}


def times(weight: Any, state: State) -> State:
    """The state times a number, or times one for every row and head (B, H)."""
    return {name: _wide(weight, array) * array for name, array in state.items()}


def zeros(state: State) -> State:
    """A state of the same shapes, all zero."""
    return {name: np.zeros_like(array) for name, array in state.items()}


def _wide(weight: Any, array: Array) -> Any:
    return weight[(...,) + (None,) * (array.ndim - 2)] if np.ndim(weight) else weight
