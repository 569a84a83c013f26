"""What is said when a device has no room for a training step."""

from collections.abc import Iterator
from contextlib import contextmanager

from mcore.errors import OutOfMemoryError
from mcore.machine import amount
from mcore.model.footprint import Footprint, footprint
from mcore.model.network import Model


@contextmanager
def within(model: object, rows: int, tokens: int) -> Iterator[None]:
    """Turn a device's want of memory in the block into an error that says what would fit.

    Args:
        model: what is trained; of a model whose backend does not tell its room, nothing changes.
        rows, tokens: of the batch.

    Raises:
        OutOfMemoryError: the device's own error, in words.
    """
    try:
        yield
    except OutOfMemoryError:
        raise
    except MemoryError as error:
        if not isinstance(model, Model) or not hasattr(model.backend, "room"):
            raise
        usable, total = model.backend.room()
        there = f"the device has {amount(usable)} of its {amount(total)} for this process"
        need = footprint(model.layout, tokens, model.dtype)
        message = f"out of memory: {there}, and {sentence(need, rows, tokens, usable)}"
        raise OutOfMemoryError(message) from error


def sentence(need: Footprint, rows: int, tokens: int, usable: int) -> str:
    """What a step takes, and which batch would fit."""
    fit = min(need.rows_in(usable), rows - 1)
    remedy = (
        f"train.batch: {fit} would fit"
        if fit
        else "not one row would fit; a smaller data.length, train.truncate, model.width or "
        "model.depth would do"
    )
    return f"{told(need, rows, tokens)}; {remedy}"


def told(need: Footprint, rows: int, tokens: int) -> str:
    """What a step takes."""
    return (
        f"a step of {rows:,} rows of {tokens:,} tokens takes about {amount(need.size(rows))}: "
        f"{amount(need.fixed)} for parameters, gradients and moments, and "
        f"{amount(need.row + need.logits)} a row"
    )
