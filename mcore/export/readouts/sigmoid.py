"""`sigmoid`: gates per channel, from what the memories answer."""

from mcore.export import ops
from mcore.export.algebra import transposed_times
from mcore.export.readouts.base import Answer, ReadoutForm, Scene, as_numbers


class SigmoidForm(ReadoutForm):
    """`y = o + sum_i sigmoid(o gate_online + o_i gate_cached + gate_bias) o_i`."""

    def answer(self, scene: Scene) -> Answer:
        """The output of a token."""
        o, answers, x = scene.online_answer(), scene.answers(), scene.x
        base = transposed_times(x["gate_online"], o) + x["gate_bias"]
        inner = ops.expand(base, 1) + transposed_times(x["gate_cached"], answers)
        gates = ops.logistic(inner) * ops.expand(as_numbers(scene.held.seen), -1)
        return Answer(o + ops.total(gates * answers, 1))
