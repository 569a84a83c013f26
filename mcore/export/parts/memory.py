"""`MemoryMixer`: a token mixer whose core is a memory."""

from mcore.errors import SpecError
from mcore.export import ops
from mcore.export.algebra import flat
from mcore.export.builder import Tensor
from mcore.export.carried import carried
from mcore.export.composition import Composition
from mcore.export.declared import Declared
from mcore.export.facts import Bound
from mcore.export.memory import remembered
from mcore.export.parts.base import Around, PartForm, State
from mcore.export.parts.finish import finished
from mcore.export.parts.projection import ProjectionForm
from mcore.model.memory_mixer import MEMORY, MemoryMixer
from mcore.recurrence import Dims


class MixerForm(PartForm):
    """Project, remember, finish, project back."""

    part: MemoryMixer

    def __init__(self, part: MemoryMixer, around: Around) -> None:
        super().__init__(part, around)
        self.projection = ProjectionForm(part.projection, around)
        sizes, memory = part.sizes, part.memory
        inner = memory.rule.sizes(sizes.key, sizes.value).get("E", 0)
        dims = Dims(1, 1, sizes.heads, sizes.key, sizes.value, inner)
        try:
            self.memory = Composition(memory, dims, around.limits.max_segments)
        except SpecError as error:
            raise SpecError(f"{around.name}: {error}") from None

    def states(self) -> list[Declared]:
        """The projection's and the memory's."""
        own = [declared.below(MEMORY) for declared in carried(self.memory)]
        return self.projection.states() + own

    def bounds(self) -> list[Bound]:
        """The memory's."""
        return self.memory.bounds(self.around.name)

    def step(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        """y (B, D)."""
        start = MEMORY + "."
        inputs, after = self.projection.step(x, state, position)
        declared = {name: inputs[name] for name in self.part.memory.inputs}
        own = {n.removeprefix(start): s for n, s in state.items() if n.startswith(start)}
        y, kept = remembered(self.memory, declared, own, position)
        y = finished(self.part.finish, self.around, y, inputs)
        out = ops.matmul(flat(y), self.around.weight(x.builder, "out.weight"))
        return out, {**after, **{start + name: s for name, s in kept.items()}}
