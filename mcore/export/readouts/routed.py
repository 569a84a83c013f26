"""`grm`, `soup`, `ssc`: gates by content, a softmax over contexts."""

from mcore.export import ops
from mcore.export.algebra import one_hot, row
from mcore.export.builder import Tensor
from mcore.export.readouts.base import Answer, ReadoutForm, Scene, as_numbers, weighted
from mcore.export.readouts.lots import lots
from mcore.export.rules.base import Inputs
from mcore.readout import Routed

_UNSEEN = -1e30
"""A logit whose weight is exactly 0 beside any other."""


class RoutedForm(ReadoutForm):
    """`softmax_i(<u, context_i> scale)` over the taken checkpoints and the online memory."""

    readout: Routed

    def complete(self, x: Inputs) -> dict[str, Tensor]:
        """With q as u, if it is shared."""
        return {**x, "u": x["q"]} if self.readout.u == "shared" else dict(x)

    def answer(self, scene: Scene) -> Answer:
        """Answers weighed by the gates, or the answer of the memories weighed by them (soup)."""
        gates, online = self._gates(scene)
        if self.readout.mixes_states and not scene.form.rule.linear_read:
            return Answer(self._soup(scene, gates, online), gates)
        y = weighted(scene.answers(), gates)
        return Answer(row(online) * scene.online_answer() + y, gates)

    def _soup(self, scene: Scene, gates: Tensor, online: Tensor) -> Tensor:
        memories = [scene.held.checkpoints, ops.expand(scene.online, 1)]
        weights = ops.concatenate([gates, ops.expand(online, 1)], 1)
        own = ops.equal(ops.expand(scene.position, -1) * 0, 0)
        seen = ops.concatenate([scene.held.seen, own], 1)
        mixture = scene.form.mix(ops.concatenate(memories, 1), weights, seen)
        return scene.form.read(mixture, scene.q)

    def _gates(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """(B, S, H) of the checkpoints and (B, H) of the online memory."""
        assert scene.own is not None and scene.held.contexts is not None
        u, scale = self._query(scene.x), self._scale(scene)
        seen, slots = as_numbers(scene.held.seen), scene.held.slots
        logits = ops.total(scene.held.contexts * ops.expand(u, 1), -1) * scale
        taken = seen * self._taken(scene, ops.where(_true(seen), logits, _UNSEEN))
        logits = ops.where(_true(taken), logits, _UNSEEN)
        own = ops.total(scene.own * u, -1)
        if self.readout.online == "outside":
            return ops.softmax(logits, 1) * taken, own * 0.0 + 1.0
        every = ops.concatenate([logits, ops.expand(own * scale, 1)], 1)
        gates = ops.softmax(every, 1)
        online = ops.squeeze(ops.part(gates, 1, slots, slots + 1), 1)
        return ops.part(gates, 1, 0, slots) * taken, online

    def _taken(self, scene: Scene, logits: Tensor) -> Tensor:
        """(B, S, H), or 1: which checkpoints are among the `top_k`; ties go to the older."""
        router, slots = self.readout.routing, scene.held.slots
        if router.top_k is None or router.top_k >= slots:
            return logits.like(1.0)
        scores = logits
        if router.seed is not None:
            scores = lots(router.seed, scene)
        places = ops.best_places(scores, router.top_k, 1)
        chosen = one_hot(ops.transpose(places, (0, 2, 1)), slots)
        taken = ops.total(ops.cast(chosen, "float32"), 2)
        return ops.transpose(taken, (0, 2, 1))

    def _query(self, x: Inputs) -> Tensor:
        return x["u"] * row(x["temperature"]) if self.readout.temperature else x["u"]

    def _scale(self, scene: Scene) -> float:
        keys = scene.form.dims.K
        return keys**-0.5 if self.readout.scale is None else self.readout.scale


def _true(weights: Tensor) -> Tensor:
    return ops.greater(weights, 0.5)
