"""Which inputs a projection makes, from which columns, and with which parameters."""

from dataclasses import dataclass
from functools import cached_property
from math import prod

from mcore.layers.dense import PLAIN, Dense
from mcore.model.columns import MIX, WEIGHT, shifted
from mcore.model.derived import A_LOG, Source
from mcore.model.part import Shapes, merged
from mcore.model.slot import Slot
from mcore.recurrence import Derived, Feature, Gate, Law, Parameter


@dataclass(frozen=True)
class Wiring:
    """What a projection is made of.

    Attributes:
        features: input name -> how it is made, as a rule declares it.
        widths: input name -> shape per head; of parameters, their whole shape.
        model: D.
        heads: H.
        conv: tokens that the short convolution sees; 0 for none.
        dense: what runs the dense pairs.
    """

    features: dict[str, Law]
    widths: dict[str, tuple[int, ...]]
    model: int
    heads: int
    conv: int
    dense: Dense = PLAIN

    @cached_property
    def slots(self) -> list[Slot]:
        """Inputs that are projected from x, the convolved ones first."""
        laws = {n: law for n, law in self.features.items() if isinstance(law, Feature | Gate)}
        found, begin = [], 0
        for name in sorted(laws, key=lambda n: not self.convolves(n)):
            width = prod(self.widths[name])
            end = begin + (rank(laws[name]) or width * self.heads)
            found.append(Slot(name, laws[name], width, slice(begin, end)))
            begin = end
        return found

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Inputs that are the same for all tokens."""
        return {n: law for n, law in self.features.items() if isinstance(law, Parameter)}

    @cached_property
    def derived(self) -> list[Source]:
        """Inputs that are made of other inputs, in an order in which they can be."""
        return [
            Source(n, law, self.heads, tuple(prod(self.widths[of]) for of in law.of))
            for n, law in self.features.items()
            if isinstance(law, Derived)
        ]

    @property
    def biases(self) -> list[Slot]:
        """The inputs that a bias is added to."""
        return [s for s in self.slots if s.law.bias is not None]

    @property
    def narrow(self) -> list[Slot]:
        """The gates per channel, projected through a bottleneck."""
        return [s for s in self.slots if rank(s.law)]

    @cached_property
    def convolved(self) -> int:
        """Number of channels that the convolution sees."""
        return sum(s.width * self.heads for s in self.slots if self.convolves(s.name))

    @property
    def carried(self) -> int:
        """Numbers that a stream keeps for the convolution and the token shift."""
        return max(self.conv - 1, 0) * self.convolved + self.model * bool(shifted(self.slots))

    @property
    def decays(self) -> bool:
        """Whether there is a softplus decay."""
        return Gate("decay") in self.features.values()

    def shapes(self) -> Shapes:
        """`project.weight`, `conv.weight`, biases, and the decay's `a_log`, `dt_bias`."""
        shapes: Shapes = {WEIGHT: (self.model, self.slots[-1].columns.stop)}
        if shifted(self.slots):
            shapes[MIX] = (len(shifted(self.slots)), self.model)
        if self.convolved:
            shapes["conv.weight"] = (self.convolved, self.conv)
        shapes |= {s.bias: (s.width * self.heads,) for s in self.biases}
        shapes |= {s.up: (rank(s.law), s.width * self.heads) for s in self.narrow}
        if self.decays:
            shapes |= {A_LOG: (self.heads,), "dt_bias": (self.heads,)}
        shapes |= merged(source.weights for source in self.derived)
        return shapes | {n: self.widths[n] for n, law in self.parameters.items() if law.trained}

    @property
    def turns(self) -> bool:
        """Whether an input is rotated by its position."""
        return any(isinstance(law, Feature) and law.rotary for law in self.features.values())

    def convolves(self, name: str) -> bool:
        """Whether an input goes through the convolution."""
        law = self.features[name]
        return self.conv > 0 and isinstance(law, Feature) and law.conv


def rank(law: Law) -> int:
    """Columns of a gate's bottleneck; 0 if it has none."""
    return law.rank if isinstance(law, Gate) else 0
