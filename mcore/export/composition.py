"""A memory of given sizes, and what its graph must carry for it."""

from dataclasses import dataclass

from mcore.export.border import check_streams
from mcore.export.cache import Store
from mcore.export.facts import Bound
from mcore.export.mixture import mixes
from mcore.export.readouts import ReadoutForm, readout_form
from mcore.export.rules import RuleForm, rule_form
from mcore.export.slots import slots_of
from mcore.memory_layer import Memory
from mcore.recurrence import Dims
from mcore.segmentation import Adaptive, Constant, Given, NoSegmentation


@dataclass(frozen=True)
class Composition:
    """Recurrence x segmentation x readout, its sizes and its bound.

    Attributes:
        memory: the composition.
        dims: its sizes; B and T do not matter.
        max_segments: checkpoints held, where the cache has no limit.

    Raises:
        SpecError: it has no graph, or needs `max_segments`.
    """

    memory: Memory
    dims: Dims
    max_segments: int | None = None

    def __post_init__(self) -> None:
        check_streams(self.memory.segmentation)
        rule_form(self.memory.rule, self.dims)
        readout_form(self.memory.readout)
        slots_of(self.memory, self.max_segments)

    @property
    def rule(self) -> RuleForm:
        """The recurrence."""
        return rule_form(self.memory.rule, self.dims)

    @property
    def readout(self) -> ReadoutForm:
        """The readout."""
        return readout_form(self.memory.readout)

    @property
    def slots(self) -> int:
        """Checkpoints held at most; 0 if none is kept by itself."""
        return slots_of(self.memory, self.max_segments)

    @property
    def mixes(self) -> bool:
        """Whether all checkpoints are kept as one memory."""
        return mixes(self.memory)

    @property
    def cuts(self) -> bool:
        """Whether there are borders."""
        return not isinstance(self.memory.segmentation, NoSegmentation)

    @property
    def pools(self) -> bool:
        """Whether the keys of the open segment are summed up."""
        cut = self.memory.segmentation
        drifts = isinstance(cut, Adaptive) and cut.rule == "drift"
        return drifts or (self.slots > 0 and self.memory.readout.routing is not None)

    @property
    def store(self) -> Store:
        """What the cache does at a border."""
        router = self.memory.readout.routing
        sums = router is not None and router.pool == "sum"
        return Store(self.rule, self.memory.cache, self.slots, sums)

    @property
    def exact(self) -> int | None:
        """Tokens for which the graph gives what the memory gives; None for any number."""
        cut = self.memory.segmentation
        if isinstance(cut, Given):
            return min(map(sum, cut.lengths))
        if self.slots == 0 or self.memory.cache.limit is not None:
            return None
        shortest = cut.length if isinstance(cut, Constant) else getattr(cut, "min", 1)
        return (self.slots + 1) * int(shortest)

    def bounds(self, name: str) -> list[Bound]:
        """How it differs beyond that; `name` is what it is called."""
        if self.exact is None:
            return []
        if isinstance(self.memory.segmentation, Given):
            note = f"{name} has cuts for {self.exact} tokens; no border comes after them"
            rows = len(self.memory.segmentation.lengths)
            note += "" if self.memory.segmentation.shared else f"; B must be {rows}"
        else:
            note = (
                f"{name} holds {self.slots} checkpoints and drops the oldest beyond them, where "
                f"mcore keeps all: exact for the first {self.exact} tokens"
            )
        return [Bound(note, self.exact)]
