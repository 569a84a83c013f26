"""One step of gradient descent."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.data import Batch
from mcore.errors import NonFiniteError
from mcore.spec.schema import TrainSpec
from mcore.training.clip import clip_scale, global_norm
from mcore.training.finite import first_nonfinite
from mcore.training.optim import AdamW
from mcore.training.protocols import Loss, Trainable
from mcore.training.schedule import learning_rate


class Step(NamedTuple):
    """The numbers of a step: the loss before it, the learning rate, the gradient's norm."""

    loss: Loss
    lr: float
    grad_norm: float


def take_step(
    step: int, batch: Batch, model: Trainable, optimizer: AdamW, train: TrainSpec
) -> Step:
    """Forward, backward, clip, update; the model is untouched if anything is not finite.

    Raises: NonFiniteError, naming the step and the first parameter.
    """
    with np.errstate(all="ignore"):
        loss, saved = model.loss(batch.tokens, batch.labels)
        grads = model.loss_backward(saved)
        norm = global_norm(grads)
        if not (np.isfinite(loss.value) and np.isfinite(norm)):
            raise NonFiniteError(_not_finite(step, loss.value, grads))
        peak, floor = train.optimizer.lr, train.final_lr
        rate = learning_rate(step, train.steps, peak, train.warmup_steps, floor)
        optimizer.update(grads, rate, clip_scale(norm, train.clip))
    return Step(loss, rate, norm)


def _not_finite(step: int, loss: float, grads: Mapping[str, Array]) -> str:
    name = first_nonfinite(grads)
    places = [] if np.isfinite(loss) else [f"the loss ({loss})"]
    places += [f"the gradient of {name}"] if name else []
    places = places or ["the gradient's norm"]
    advice = "a lower train.optimizer.lr, a longer train.warmup or a lower train.clip may help"
    return f"step {step}: NaN or infinity in {' and '.join(places)}; {advice}"
