"""Where NaN or infinity first shows in a network: part, rule, row and token.

Training asks once, after a loss or a gradient was not finite. The batch goes through the parts
again, one by one, then back; every array on the way is looked at, and the first with a bad entry
is named.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.layers.norm import rms_norm, rms_norm_backward
from mcore.layers.product import in_dtype, real_of
from mcore.model.block import Residual
from mcore.model.ends import EMBEDDING, FINAL, HEAD
from mcore.model.look import Look, stages, title
from mcore.model.network import Model
from mcore.model.part import State, scoped
from mcore.placing import sent


def blame(model: Model, tokens: Array, labels: Array, state: State | None = None) -> str | None:
    """The first place with NaN or infinity, in words, or None if all is finite this time.

    Looks at parameters, and at the state that rows go on from, before what they are used for; at
    rows and tokens in order on the way forward, and from the last token on the way back.
    """
    with np.errstate(all="ignore"):
        looks = _Pass(model, tokens, labels, state or {}).looks()
        return next((look.sentence() for look in looks if not look.finite), None)


class _Pass:
    """One forward and backward pass that shows every array as soon as there is one."""

    def __init__(self, model: Model, tokens: Array, labels: Array, state: State) -> None:
        self.params, self.layout, self.state = model.arrays, model.layout, state
        self.ends, self.dtype = model.ends, model.dtype
        self.tokens, self.labels = tokens, labels
        self.x: Array = np.zeros(0)
        self.kept: list[Any] = []

    def looks(self) -> Iterator[Look]:
        """Everything, in the order in which it is computed."""
        for name in self.ends.first():
            yield Look(name, "the parameter", self.params[name])
        x, _ = self.ends.embed(self.params, self.tokens)
        self.x = in_dtype(x, self.dtype)
        for name, part in self.layout.parts.items():
            yield from self._forward(name, part)
        yield from self._loss()
        for (name, part), kept in zip(
            reversed(self.layout.parts.items()), reversed(self.kept), strict=True
        ):
            self.x, grads = part.backward(kept, self.x)
            place = f"{name} ({title(part.part)})"
            yield Look(place, "the gradient of its input", self.x, backward=True)
            for parameter, gradient in grads.items():
                yield Look(place, f"the gradient of {parameter}", gradient)

    def _forward(self, name: str, part: Residual) -> Iterator[Look]:
        params, state = scoped(self.params, name), scoped(self.state, name)
        place = f"{name} ({title(part.part)})"
        for parameter, value in params.items():
            yield Look(place, f"the parameter {parameter}", value)
        for carried, value in state.items():
            yield Look(place, f"the state {carried} it goes on from", value)
        h, _ = rms_norm(in_dtype(self.x, real_of(self.dtype)), params["pre.weight"])
        yield Look(place, "the norm before it", h, tokens=True)
        if not state:
            yield from stages(name, part.part, params, h)
        self.x, kept = part.forward(params, self.x, state)
        self.kept.append(kept)
        yield Look(place, "its output", self.x, tokens=True)

    def _loss(self) -> Iterator[Look]:
        """The last norm and the head, forward and back; leaves the gradient of the last part."""
        yield Look(FINAL, "the parameter", self.params[FINAL])
        hidden, norm = rms_norm(in_dtype(self.x, real_of(self.dtype)), self.params[FINAL])
        yield Look(FINAL, "the last norm", hidden, tokens=True)
        place = EMBEDDING if self.layout.tied else HEAD
        for name in self.ends.last() or (EMBEDDING,):
            yield Look(name, "the parameter", self.params[name])
        yield from self._outputs(place, hidden)
        _, kept = self.ends.loss(self.params, hidden, self.tokens, self.labels, {})
        d_hidden, grads = self.ends.loss_backward(kept, 1.0)
        for gradient in grads.values():
            yield Look(place, "the gradient of the head", gradient)
        dx, d_final = rms_norm_backward(norm, d_hidden)
        self.x = in_dtype(dx, self.dtype)
        yield Look(FINAL, "the gradient of its input", self.x, backward=True)
        yield Look(FINAL, "the gradient of the last norm", d_final)

    def _outputs(self, place: str, hidden: Array) -> Iterator[Look]:
        """Row by row; logits as far from their largest as the loss sees them."""
        for row, labels in enumerate(self.labels):
            at = slice(row, row + 1)
            outputs, _ = self.ends.read(self.params, hidden[at], self.tokens[at], {})
            if labels.ndim == 2:
                yield Look(place, "the outputs", outputs, tokens=True, row=row)
                continue
            logits = outputs - outputs.max(axis=-1, keepdims=True)
            logits[0, sent(logits, labels == -1)] = 0
            yield Look(place, "the logits", logits, tokens=True, row=row)
