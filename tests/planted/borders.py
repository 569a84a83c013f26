"""Where segments begin and end, and what passes from one to the next; done right."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from planted.pieces import Borders, Span, State, Token, plus, zeros


def cut(lengths: Sequence[int]) -> list[Span]:
    """Segments lie one after another."""
    return list(pairwise([0, *accumulate(lengths)]))


def afresh(initial: State, before: State | None, first: Token) -> State:
    """`independent`: every segment starts from the initial state."""
    return initial


def afresh_backward(d_start: State) -> tuple[State, State]:
    """The initial state takes it all."""
    return d_start, zeros(d_start)


def carry(initial: State, before: State | None, first: Token) -> State:
    """`checkpoint`: a segment goes on where the last one ended."""
    return initial if before is None else before


def carry_backward(d_start: State) -> tuple[State, State]:
    """The state before takes it all; the first segment's is the initial state."""
    return zeros(d_start), d_start


def keep(after: Sequence[State]) -> State:
    """The state after the segment's last token."""
    return after[-1]


def enter(d_state: State, d_checkpoint: State) -> State:
    """A checkpoint's gradient enters at its segment's last token."""
    return plus(d_state, d_checkpoint)


def visible(segment: int) -> Sequence[int]:
    """The checkpoints of the segments before."""
    return range(segment)


def walk(begin: int, end: int) -> Iterable[int]:
    """The last token first."""
    return reversed(range(begin, end))


INDEPENDENT = Borders(cut, afresh, afresh_backward, keep, enter, visible, walk)
CHECKPOINT = Borders(cut, carry, carry_backward, keep, enter, visible, walk)
