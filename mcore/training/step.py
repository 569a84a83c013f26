"""One step of gradient descent."""

from typing import Any, NamedTuple

import numpy as np

from mcore.errors import NonFiniteError
from mcore.layers.loss import Loss
from mcore.model.room import within
from mcore.spec.schema import TrainSpec
from mcore.training.finite import find_place, loss_of, message, what_failed
from mcore.training.optim import AdamW
from mcore.training.protocols import Trainable
from mcore.training.schedule import learning_rate
from mcore.training.truncate import AnyBatch


class Step(NamedTuple):
    """The loss before a step and what it kept, the learning rate, the gradient's norm."""

    loss: Loss
    lr: float
    grad_norm: float
    saved: Any


def take_step(
    step: int, batch: AnyBatch, model: Trainable, optimizer: AdamW, train: TrainSpec
) -> Step:
    """Forward, backward, clip, update; the model is untouched if anything is not finite.

    Raises: NonFiniteError, naming the step, the first gradient, and the part of the network, the
        row and the token where it begins; OutOfMemoryError, naming a batch that would fit.
    """
    with np.errstate(all="ignore"), within(model, *batch.tokens.shape[:2]):
        loss, saved = loss_of(f"step {step}", batch, model)
        grads = model.loss_backward(saved)
        peak, floor = train.optimizer.lr, train.final_lr
        rate = learning_rate(step, train.steps, peak, train.warmup_steps, floor)
        found = optimizer.descend(loss, grads, rate, train.clip)
        if not found.finite:
            what, place = what_failed(found.loss.value, grads), find_place(model, batch)
            raise NonFiniteError(message(f"step {step}", what, place))
    return Step(found.loss, rate, found.norm, saved)
