"""`Parallel`: parts that see the same input, their answers added or weighed by a gate."""

from mcore.export import ops
from mcore.export.builder import Tensor
from mcore.export.declared import Declared
from mcore.export.facts import Bound
from mcore.export.parts.base import Around, PartForm, State
from mcore.export.parts.registry import part_form
from mcore.model.parallel import NAME, Parallel


class ParallelForm(PartForm):
    """`sum`, or `s first + (1 - s) second` with `s = sigmoid(x W + b)`."""

    part: Parallel

    def __init__(self, part: Parallel, around: Around) -> None:
        super().__init__(part, around)
        self.inner = {n: part_form(each, around.below(n)) for n, each in part.parts.items()}

    def states(self) -> list[Declared]:
        """Each part's below its name."""
        return [s.below(name) for name, inner in self.inner.items() for s in inner.states()]

    def bounds(self) -> list[Bound]:
        """Each part's."""
        return [bound for inner in self.inner.values() for bound in inner.bounds()]

    def step(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        """y (B, D)."""
        answers, after = [], State()
        for name, inner in self.inner.items():
            start = name + "."
            own = {n.removeprefix(start): s for n, s in state.items() if n.startswith(start)}
            y, carried = inner.step(x, own, position)
            answers.append(y)
            after |= {start + n: s for n, s in carried.items()}
        if self.part.join is None:
            return sum(answers[1:], answers[0]), after
        weight, bias = (self.around.weight(x.builder, f"{NAME}.{n}") for n in ("weight", "bias"))
        share, (first, second) = ops.logistic(ops.matmul(x, weight) + bias), answers
        return second + share * (first - second), after
