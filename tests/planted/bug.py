"""A planted bug: one piece of one correct kernel, replaced.

    @plant("routing.pool", kernel("delta", "grm"), caught_by="causality", seen="where")
    def whole_segment(keys):
        \"\"\"The mistake in one sentence.\"\"\"

A mistake in a forward piece is verified without a backward, as of a kernel whose gradients come
from elsewhere; a mistake in a backward piece with its right forward.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from planted.kernel import Kernel

F = TypeVar("F", bound=Callable[..., Any])

OF_BACKWARD = ("borders.enter", "borders.walk")
"""Pieces of backward alone, beside those whose names end in `_backward`."""


@dataclass(frozen=True)
class Bug:
    """A kernel with a mistake.

    Attributes:
        name: of the function that is the mistake.
        sentence: what is wrong.
        piece: what the function stands in for, as in `routing.pool`.
        correct: the kernel without the mistake.
        kernel: with it.
        caught_by: the theorem that must fail.
        seen: where the mistake was met, or "".
    """

    name: str
    sentence: str
    piece: str
    correct: Kernel
    kernel: Kernel
    caught_by: str
    seen: str

    @property
    def in_backward(self) -> bool:
        """Whether forward is right."""
        return self.piece.endswith("_backward") or self.piece in OF_BACKWARD


BUGS: dict[str, Bug] = {}
"""Every bug there is, by name; filled by the files of `planted.bugs`."""


def plant(piece: str, kernel: Kernel, caught_by: str, seen: str = "") -> Callable[[F], F]:
    """Register the decorated function as a bug in place of `piece`."""

    def register(function: F) -> F:
        name = function.__name__
        assert name not in BUGS, f"{name}: planted twice"
        sentence = (function.__doc__ or "").splitlines()[0]
        planted = kernel.with_piece(piece, function)
        BUGS[name] = Bug(name, sentence, piece, kernel, planted, caught_by, seen)
        return function

    return register
