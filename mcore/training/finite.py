"""What is said when NaN or infinity stops a run."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.data import PackedBatch
from mcore.errors import InputError, NonFiniteError
from mcore.layers.loss import Scored
from mcore.model import Model
from mcore.model.blame import blame
from mcore.placing import to_host
from mcore.training.protocols import Trainable
from mcore.training.truncate import AnyBatch, Piece

ADVICE = "a lower train.optimizer.lr, a longer train.warmup or a lower train.clip may help"


def first_nonfinite(arrays: Mapping[str, Array]) -> str | None:
    """Name of the first array, in the mapping's order, with an entry that is not finite."""
    return next((name for name, a in arrays.items() if not np.isfinite(to_host(a)).all()), None)


def loss_of(when: str, batch: AnyBatch, model: Trainable) -> tuple[Scored, Any]:
    """The model's loss; a memory that refuses NaN among its inputs is one more non-finite place.

    Raises: NonFiniteError, naming the place; InputError where nothing is NaN or infinite.
    """
    try:
        if isinstance(batch, Piece):
            return model.loss(batch.tokens, batch.labels, batch.state)
        if isinstance(batch, PackedBatch):
            return model.loss(batch.tokens, batch.labels, document=batch.document)
        return model.loss(batch.tokens, batch.labels)
    except InputError as error:
        if (place := find_place(model, batch)) is None:
            raise
        raise NonFiniteError(message(when, "the forward pass", place)) from error


def find_place(model: Trainable, batch: AnyBatch) -> str | None:
    """The part, rule, row and token where a second pass over the batch first fails, in words.

    None if it does not fail again, or the model is not one whose parts are known.
    """
    if not isinstance(model, Model):
        return None
    state = batch.state if isinstance(batch, Piece) else None
    return blame(model, batch.tokens, batch.labels, None if state is None else dict(state))


def what_failed(loss: float, grads: Mapping[str, Array]) -> str:
    """The loss, the first gradient, or both."""
    name = first_nonfinite(grads)
    failed = [] if np.isfinite(loss) else [f"the loss ({loss})"]
    failed += [f"the gradient of {name}"] if name else []
    return " and ".join(failed or ["the gradient's norm"])


def message(when: str, what: str, place: str | None) -> str:
    """`step 7: NaN or infinity in WHAT; first in PLACE; what may help`."""
    first = f"; first in {place}" if place else ""
    return f"{when}: NaN or infinity in {what}{first}; {ADVICE}"
