"""An operation of a family of rules: its forward, and the backward that opens what it saved."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Pair(NamedTuple):
    """Both take the device first; further arguments and results are those of the backend's method.

    Attributes:
        forward: `(device, ...) -> (output, saved)`.
        backward: `(device, saved, ...) -> gradients`.
    """

    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[..., Any]


class Kept(NamedTuple):
    """What the backend gives out as `saved`: who made it, and what."""

    pair: Pair
    saved: Any
