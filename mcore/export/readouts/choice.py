"""The checkpoints that a token reads: all that are held, or the best few of them."""

from dataclasses import dataclass

import numpy as np

from mcore.export import ops
from mcore.export.builder import Tensor
from mcore.export.readouts.base import Held, Scene, as_numbers
from mcore.export.readouts.lots import lots
from mcore.router import Router

UNSEEN = -1e30
"""A logit whose weight is exactly 0 beside any other."""


@dataclass(frozen=True)
class Choice:
    """C memories for each head.

    Attributes:
        checkpoints: (B, C, H, *state_shape).
        logits: (B, C, H), `UNSEEN` where there is no checkpoint.
        seen: (B, C, H or 1) float32, 1 where there is one.
        places: (B, C, H) int64 their slots; None if they are all slots in order.
    """

    checkpoints: Tensor
    logits: Tensor
    seen: Tensor
    places: Tensor | None

    def spread(self, gates: Tensor, held: Held) -> Tensor:
        """Gates (B, C, H) of the chosen as gates (B, S, H) of all slots."""
        if self.places is None:
            return gates
        assert held.contexts is not None
        nothing = ops.total(held.contexts, -1) * 0.0
        inputs = [nothing, self.places, gates]
        return gates.builder.node("ScatterElements", inputs, gates.dtype, {"axis": 1})


def choose(router: Router, logits: Tensor, scene: Scene) -> Choice:
    """The `top_k` with the largest logits (B, S, H), or lots; ties go to the older."""
    held, seen = scene.held, as_numbers(scene.held.seen)
    logits = ops.where(ops.greater(seen, 0.5), logits, UNSEEN)
    if router.top_k is None or router.top_k >= held.slots:
        return Choice(held.checkpoints, logits, seen, None)
    scores = logits if router.seed is None else lots(router.seed, scene)
    places = ops.best_places(scores, router.top_k, 1)
    first = held.slots - ops.expand(held.count, -1, -2)
    taken = logits.builder.node("GatherElements", [logits, places], logits.dtype, {"axis": 1})
    there = ops.cast(ops.at_least(places, first), "float32")
    return Choice(_picked(held.checkpoints, places, scene.form.dims.H), taken, there, places)


def _picked(checkpoints: Tensor, places: Tensor, heads: int) -> Tensor:
    """(B, C, H, *state_shape) the checkpoint at each head's places (B, C, H)."""
    own = places.builder.constant(np.arange(heads, dtype=np.int64)) + places * 0
    at = ops.concatenate([ops.expand(places, -1), ops.expand(own, -1)], -1)
    inputs = [checkpoints, at]
    return checkpoints.builder.node("GatherND", inputs, checkpoints.dtype, {"batch_dims": 1})
