"""`none`, `residual`, `moving_average`: gates that depend on how many checkpoints there are."""

from mcore.export import ops
from mcore.export.algebra import column, numbers, row
from mcore.export.builder import Tensor
from mcore.export.readouts.base import Answer, Held, ReadoutForm, Scene, as_numbers, weighted
from mcore.readout import MovingAverage


class NoForm(ReadoutForm):
    """Only the online memory."""

    def answer(self, scene: Scene) -> Answer:
        """`o`."""
        return Answer(scene.online_answer())


class ResidualForm(ReadoutForm):
    """All gates are 1."""

    def answer(self, scene: Scene) -> Answer:
        """`o + sum_i o_i`."""
        seen = as_numbers(scene.held.seen)
        return Answer(scene.online_answer() + weighted(scene.answers(), seen))


class MovingAverageForm(ReadoutForm):
    """Weights that sum to one."""

    readout: MovingAverage

    def answer(self, scene: Scene) -> Answer:
        """The mean, or the exponential one from the oldest to the online memory."""
        cached, online = self._gates(scene.held)
        seen = as_numbers(scene.held.seen) * ops.expand(cached, -1)
        own = column(online) * scene.online_answer()
        return Answer(own + weighted(scene.answers(), seen))

    def _gates(self, held: Held) -> tuple[Tensor, Tensor]:
        """(B, S) or (B, 1), where a slot is seen, and (B,) of the online memory."""
        count = ops.cast(held.count, "float32")
        if self.readout.weights == "uniform":
            even = 1.0 / (count + 1.0)
            return row(even), even
        rate, slots = self.readout.rate, held.slots
        newer = [(1 - rate) ** (slots - slot) for slot in range(slots)]
        decayed, oldest = numbers(count, newer), ops.equal(held.ordinal, 0)
        first = ops.equal(held.count, 0)
        online = ops.where(first, numbers(count, 1.0), rate)
        return decayed * ops.where(oldest, numbers(count, 1.0), rate), online
