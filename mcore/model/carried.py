"""Whether arrays from a file can be what rows of a model carry from token to token."""

from collections.abc import Mapping

import numpy as np

from mcore.arrays import Array
from mcore.errors import SnapshotError
from mcore.model.part import State

_GROWING = (("checkpoints", "scales", "contexts", "ledger"), ("k", "v"))
"""Arrays (B, n, ...) of one memory, or one attention, whose n is the same and may be any."""

_COUNTS = ("position", "length", "count")
_FOREVER = 2**61


def check_carried(state: Mapping[str, Array], like: State) -> None:
    """Hold a state to `like`, which one row of the model carries after a token.

    Keys and values of attention may be missing: then it has seen nothing yet.

    Raises: SnapshotError when a name, a dtype, a shape or a count is not what it would be.
    """
    for name in [*like, *state]:
        if name not in like or not (name in state or _unseen(name, state)):
            raise SnapshotError(f"{name} is {'missing' if name in like else 'not of this model'}")
    rows = {array.shape[:1] for array in state.values()}
    if len(rows) != 1 or rows & {(), (0,)}:
        raise SnapshotError("its arrays are not of one number of rows")
    for name, array in state.items():
        _check_form(name, array, like[name])
    for name in state:
        _check_numbers(name, state)


def _check_form(name: str, array: Array, like: Array) -> None:
    free = 2 if any(_last(name) in group for group in _GROWING) else 1
    forms = [(x.dtype, x.ndim, x.shape[free:]) for x in (array, like)]
    if forms[0] != forms[1]:
        raise SnapshotError(
            f"{name} is {array.dtype.name} {list(array.shape)}, and this model carries "
            f"{like.dtype.name} {list(like.shape)} a row"
        )


def _check_numbers(name: str, state: Mapping[str, Array]) -> None:
    """Arrays that grow together are as long; counts count what may be there."""
    array, (scope, _, last) = state[name], name.rpartition(".")
    beside = {_last(other): x for other, x in state.items() if other.rpartition(".")[0] == scope}
    for group in (group for group in _GROWING if last in group):
        lengths = {beside[other].shape[1] for other in group if other in beside}
        if len(lengths) > 1:
            raise SnapshotError(f"{name} does not hold as many entries as others beside it")
    if last in _COUNTS and (np.any(array < 0) or np.any(array > _FOREVER)):
        raise SnapshotError(f"{name} holds a number that counts nothing")
    if last == "count" and np.any(array > _slots(beside)):
        raise SnapshotError(f"{name} says more checkpoints than there are")
    if last == "length" and "position" in beside and np.any(array > beside["position"]):
        raise SnapshotError(f"{name} says a segment longer than its document")


def _unseen(name: str, state: Mapping[str, Array]) -> bool:
    """Whether this is of an attention that has seen nothing yet, and carries neither k nor v."""
    scope, _, last = name.rpartition(".")
    return last in ("k", "v") and not {f"{scope}.k", f"{scope}.v"} & state.keys()


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _slots(beside: Mapping[str, Array]) -> int:
    """How many checkpoints there is room for; any number where none are counted."""
    return beside["checkpoints"].shape[1] if "checkpoints" in beside else _FOREVER
