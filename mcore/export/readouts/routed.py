"""`grm`, `soup`, `ssc`: gates by content, a softmax over contexts."""

from mcore.export import ops
from mcore.export.algebra import row
from mcore.export.builder import Tensor
from mcore.export.readouts.base import Answer, ReadoutForm, Scene, weighted
from mcore.export.readouts.choice import Choice, choose
from mcore.export.rules.base import Inputs
from mcore.readout import Routed


class RoutedForm(ReadoutForm):
    """`softmax_i(<u, context_i> scale)` over the taken checkpoints and the online memory."""

    readout: Routed

    def complete(self, x: Inputs) -> dict[str, Tensor]:
        """With q as u, if it is shared."""
        return {**x, "u": x["q"]} if self.readout.u == "shared" else dict(x)

    def answer(self, scene: Scene) -> Answer:
        """Answers weighed by the gates, or the answer of the memories weighed by them (soup)."""
        choice, own = self._routed(scene)
        gates, online = self._gates(choice, own)
        spread = choice.spread(gates, scene.held)
        if self.readout.mixes_states and not scene.form.rule.linear_read:
            return Answer(_soup(scene, gates, online), spread)
        q = None if scene.q is None else ops.expand(scene.q, 1)
        y = weighted(scene.form.read(choice.checkpoints, q), gates)
        return Answer(row(online) * scene.online_answer() + y, spread)

    def _routed(self, scene: Scene) -> tuple[Choice, Tensor]:
        """The memories that are read, and the logits (B, H) of the online one."""
        assert scene.own is not None and scene.held.contexts is not None
        u, keys = scene.x["u"], scene.form.dims.K
        if self.readout.temperature:
            u = u * row(scene.x["temperature"])
        u = u * (keys**-0.5 if self.readout.scale is None else self.readout.scale)
        logits = ops.total(scene.held.contexts * ops.expand(u, 1), -1)
        return choose(self.readout.routing, logits, scene), ops.total(scene.own * u, -1)

    def _gates(self, choice: Choice, own: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H) of the chosen checkpoints and (B, H) of the online memory."""
        if self.readout.online == "outside":
            return ops.softmax(choice.logits, 1) * choice.seen, own * 0.0 + 1.0
        mine = ops.expand(own, 1)
        largest = ops.maximum(ops.largest_kept(choice.logits, 1), mine)
        weights, weight = ops.exp(choice.logits - largest), ops.exp(mine - largest)
        total = ops.total_kept(weights, 1) + weight
        return weights / total * choice.seen, ops.squeeze(weight / total, 1)


def _soup(scene: Scene, gates: Tensor, online: Tensor) -> Tensor:
    """The mixture of all memories, read once."""
    memories = [scene.held.checkpoints, ops.expand(scene.online, 1)]
    weights = ops.concatenate([gates, ops.expand(online, 1)], 1)
    own = ops.equal(ops.expand(scene.position, -1) * 0, 0)
    seen = ops.concatenate([scene.held.seen, own], 1)
    mixture = scene.form.mix(ops.concatenate(memories, 1), weights, seen)
    return scene.form.read(mixture, scene.q)
