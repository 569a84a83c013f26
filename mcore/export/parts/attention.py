"""`AttentionMixer`: softmax attention over a bounded number of tokens."""

from mcore.errors import SpecError
from mcore.export import ops
from mcore.export.algebra import flat
from mcore.export.builder import Tensor
from mcore.export.declared import Declared
from mcore.export.facts import Bound
from mcore.export.parts.base import Around, PartForm, State
from mcore.export.parts.projection import ProjectionForm
from mcore.export.readouts.base import weighted
from mcore.model.attention_mixer import AttentionMixer

_UNSEEN = -1e30


class AttentionForm(PartForm):
    """Keys and values of the tokens before, the oldest first, at the right of their slots."""

    part: AttentionMixer

    def __init__(self, part: AttentionMixer, around: Around) -> None:
        super().__init__(part, around)
        self.projection = ProjectionForm(part.projection, around)
        self.before = _window(part, around) - 1

    def states(self) -> list[Declared]:
        """The projection's, and the keys and values that may still be seen."""
        found, sizes, own = self.projection.states(), self.part.sizes, []
        for name, letter, width in (("k", "K", sizes.key), ("v", "V", sizes.value)):
            shape = ("B", self.before, sizes.heads, width)
            meaning = f"{name} of the tokens before, the oldest first; the last `position` slots"
            own.append(Declared(name, f"B M H {letter}", shape, meaning))
        return found + (own if self.before else [])

    def bounds(self) -> list[Bound]:
        """That it does not see all, if it should."""
        most = self.before + 1
        note = (
            f"{self.around.name} sees the last {most} tokens, where mcore's attention sees all: "
            f"exact for the first {most} tokens"
        )
        return [] if self.part.window is not None else [Bound(note, most)]

    def step(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        """y (B, D)."""
        inputs, after = self.projection.step(x, state, position)
        q, k, v = (inputs[name] for name in ("q", "k", "v"))
        y = v
        if self.before:
            keys, values = (
                ops.concatenate([state[name], ops.expand(new, 1)], 1)
                for name, new in (("k", k), ("v", v))
            )
            y = weighted(values, self._weights(q, keys, position))
            for name, held in (("k", keys), ("v", values)):
                after[name] = ops.part(held, 1, 1, self.before + 1)
        return ops.matmul(flat(y), self.around.weight(x.builder, "out.weight")), after

    def _weights(self, q: Tensor, keys: Tensor, position: Tensor) -> Tensor:
        """(B, M + 1, H) a softmax over the tokens that have been there."""
        logits = ops.total(keys * ops.expand(q, 1), -1) * self.part.sizes.key**-0.5
        age = self.before - ops.arange(position, self.before + 1)
        seen = ops.at_least(ops.expand(position, -1), age)
        return ops.softmax(ops.where(ops.expand(seen, -1), logits, _UNSEEN), 1)


def _window(part: AttentionMixer, around: Around) -> int:
    most = around.limits.max_tokens
    if most is not None and most < 1:
        raise SpecError(f"max_tokens: {most} is too small; 1 or more would do")
    if part.window is not None:
        return part.window
    if most is None:
        raise SpecError(
            f"{around.name}: attention without a window sees all tokens, and a graph holds a fixed "
            "number of them; --max-tokens 1024 (in Python max_tokens=1024) would do, and forgets "
            "the oldest beyond it; so would model.window"
        )
    return most
