"""From a token to a mixer's inputs: the columns of one product, each made what it is to be."""

import numpy as np

from mcore.export import ops
from mcore.export.builder import Tensor
from mcore.export.declared import Declared
from mcore.export.parts.base import Around, State
from mcore.export.parts.derived import derived
from mcore.export.parts.gates import gate
from mcore.export.parts.vectors import convolved, vector
from mcore.model.columns import MIX, WEIGHT, shifted
from mcore.model.features import CONV
from mcore.model.projection import Projection
from mcore.model.slot import Slot
from mcore.recurrence import Gate


class ProjectionForm:
    """A projection with its parameters."""

    def __init__(self, projection: Projection, around: Around) -> None:
        self.projection, self.around = projection, around

    @property
    def carries_tail(self) -> bool:
        """Whether there are tokens before that the convolution sees."""
        return self.projection.convolved > 0 and self.projection.conv > 1

    def states(self) -> list[Declared]:
        """The convolution's tail, and the last token where inputs see a mix with it."""
        made, found = self.projection, []
        if self.carries_tail:
            shape = ("B", made.conv - 1, made.convolved)
            meaning = "inputs of the short convolution before the token"
            found.append(Declared("tail", "B W-1 C", shape, meaning))
        if shifted(made.slots):
            found.append(Declared("last", "B D", ("B", made.model), "the token before"))
        return found

    def step(self, x: Tensor, state: State, position: Tensor) -> tuple[dict[str, Tensor], State]:
        """Inputs by name, and what is carried on; x (B, D)."""
        after, made = State(), self.projection
        columns = self._columns(x, state)
        if shifted(made.slots):
            after["last"] = x
        if made.convolved:
            together = [columns[s.name] for s in made.slots if made.convolves(s.name)]
            columns |= self._convolved(ops.concatenate(together, -1), state, after)
        inputs: dict[str, Tensor] = {}
        for slot in made.slots:
            inputs[slot.name] = self._input(slot, columns[slot.name], position)
        for name, law in made.parameters.items():
            inputs[name] = self._parameter(x, name, law.trained)
        for source in made.derived:
            inputs[source.name] = derived(source, self.around, inputs)
        return inputs, after

    def _columns(self, x: Tensor, state: State) -> dict[str, Tensor]:
        """Each input's columns of the product."""
        slots, weight = self.projection.slots, self.around.params[WEIGHT]
        names = shifted(slots)
        if not names:
            z = ops.matmul(x, self.around.weight(x.builder, WEIGHT))
            return {s.name: ops.part(z, -1, s.columns.start, s.columns.stop) for s in slots}
        difference, found = state["last"] - x, {}
        for slot in slots:
            source = x
            if slot.name in names:
                share = self.around.params[MIX][names.index(slot.name)]
                mix = self.around.piece(x.builder, f"{MIX}.{slot.name}", share)
                source = x + mix * difference
            own = self.around.piece(x.builder, f"{WEIGHT}.{slot.name}", weight[:, slot.columns])
            found[slot.name] = ops.matmul(source, own)
        return found

    def _convolved(self, z: Tensor, state: State, after: State) -> dict[str, Tensor]:
        """The columns that the convolution sees, after it."""
        made, weight = self.projection, self.around.params[CONV]
        if self.carries_tail:
            z, after["tail"] = convolved(z, state["tail"], weight, self.around)
        else:
            z = z * self.around.piece(z.builder, "conv.taps", weight[:, 0])
        return {
            s.name: ops.part(z, -1, s.columns.start, s.columns.stop)
            for s in made.slots
            if made.convolves(s.name)
        }

    def _input(self, slot: Slot, x: Tensor, position: Tensor) -> Tensor:
        if isinstance(slot.law, Gate):
            return gate(slot, self.projection.heads, self.around, x)
        return vector(slot, self.projection.heads, self.around, x, position)

    def _parameter(self, x: Tensor, name: str, trained: bool) -> Tensor:
        if trained:
            return self.around.weight(x.builder, name)
        law, shape = self.projection.parameters[name], self.projection.widths[name]
        return self.around.piece(x.builder, name, law.start(np.random.default_rng(0), shape))
