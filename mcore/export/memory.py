"""A memory in a graph: where recurrence, segmentation, readout and cache meet, for one token.

    1. If the open segment has ended, its memory becomes a checkpoint.
    2. Where a memory begins, it begins at the rule's initial state.
    3. The token is written; then it reads all memories.

All of a state is zero before the first token: a memory's own start is taken where `position` is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mcore.cache import LEDGER
from mcore.export import ops
from mcore.export.border import Open, check_streams, closes
from mcore.export.builder import Tensor
from mcore.export.cache import Cached, Store
from mcore.export.declared import Declared
from mcore.export.readouts import Held, Scene, readout_form
from mcore.export.rounding import rounded
from mcore.export.rules import RuleForm, rule_form
from mcore.memory_layer import Memory
from mcore.recurrence import Dims
from mcore.segmentation import Adaptive, NoSegmentation

State = dict[str, Tensor]


@dataclass(frozen=True)
class MemoryForm:
    """A composition of given sizes.

    Attributes:
        memory: the composition.
        dims: its sizes; B and T do not matter.
        slots: checkpoints held at most.
    """

    memory: Memory
    dims: Dims
    slots: int

    def __post_init__(self) -> None:
        check_streams(self.memory.segmentation)
        rule_form(self.memory.rule, self.dims)
        readout_form(self.memory.readout)

    @property
    def form(self) -> RuleForm:
        """The recurrence."""
        return rule_form(self.memory.rule, self.dims)

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
        return Store(self.form, self.memory.cache, self.slots, sums)

    def states(self) -> list[Declared]:
        """What it carries, but for the position."""
        (rows, width), (_, _, heads, keys, *_) = self.memory.rule.state_shape(self.dims), self.dims
        found = [
            Declared("online", "B H R C", ("B", heads, rows, width), "memory of the open segment")
        ]
        if self.cuts:
            found.append(_count("length", "tokens of the open segment so far"))
        if self.pools:
            meaning = "sum of the open segment's keys"
            found.append(Declared("keys", "B H K", ("B", heads, keys), meaning))
        if not self.slots:
            return found
        found += [
            _count("count", "checkpoints held"),
            Declared(
                "checkpoints", "B S H R C", ("B", self.slots, heads, rows, width),
                "memories at the ends of segments, the oldest first; the last `count` slots",
            ),
        ]  # fmt: skip
        if self.memory.readout.routing is not None:
            pooled = "sum" if self.store.sums else "mean"
            shape = ("B", self.slots, heads, keys)
            found.append(Declared("contexts", "B S H K", shape, f"{pooled} of each one's keys"))
        if self.store.books:
            meaning = "of each checkpoint: its tokens, tokens since, gate mass received"
            found.append(Declared("ledger", "B S 3", ("B", self.slots, LEDGER), meaning, "float64"))
        return found

    def step(self, x: Mapping[str, Tensor], state: State, position: Tensor) -> tuple[Tensor, State]:
        """y (B, H, V) of one token, and what is carried on.

        Args:
            x: inputs (B, H, ...) and parameters, as the memory declares them.
            state: as `states` declares it.
            position: (B,) int64 tokens before in the stream.
        """
        readout, form = readout_form(self.memory.readout), self.form
        x = form.prepare(readout.complete(x))
        state = self._begun(self._closed(state, x, position), x, position)
        before = state.get("length", position)
        state["online"] = form.step(state["online"], {**x, "position": before})
        if "length" in state:
            state["length"] = before + 1
        if "keys" in state:
            state["keys"] = state["keys"] + x["k"]
        if not self.slots:
            return form.read(state["online"], x.get("q")), state
        held = Held(self.slots, state["checkpoints"], state.get("contexts"), state["count"])
        own = self._context(state) if "contexts" in state else None
        y, gates = readout.answer(Scene(form, x, state["online"], own, held, position))
        if "ledger" in state:
            state["ledger"] = self.store.used(state["ledger"], gates)
        return y, state

    def _closed(self, state: State, x: Mapping[str, Tensor], position: Tensor) -> State:
        """The state with the open segment made a checkpoint, where it has ended."""
        if not self.cuts:
            return dict(state)
        opened = Open(position, state["length"], state["online"], state.get("keys"))
        ended = closes(self.memory.segmentation, opened, self.form, x)
        closed = dict(state)
        if self.slots:
            cache = Cached(state["checkpoints"], state.get("contexts"), state.get("ledger"))
            pushed = self.store.pushed(cache, self._checkpoint(state), state["count"])
            kept = pushed.where(ops.expand(ended, 1), cache)
            named = kept._asdict()
            closed |= {name: array for name, array in named.items() if array is not None}
            more = ops.minimum(state["count"] + 1, self.slots)
            closed["count"] = ops.where(ended, more, state["count"])
        if "keys" in state:
            keys = state["keys"]
            closed["keys"] = ops.where(ops.expand(ended, 1, 2), keys.like(0.0), keys)
        closed["length"] = ops.where(ended, state["length"].like(0), state["length"])
        return closed

    def _checkpoint(self, state: State) -> Cached:
        """The open segment as a checkpoint."""
        memory = rounded(state["online"], self.memory.cache.dtype)
        context = self._context(state) if "contexts" in state else None
        if "ledger" not in state:
            return Cached(memory, context, None)
        tokens = ops.expand(ops.cast(state["length"], "float64"), -1)
        entry = ops.concatenate([tokens] + [tokens * 0.0] * (LEDGER - 1), -1)
        return Cached(memory, context, entry)

    def _context(self, state: State) -> Tensor:
        """(B, H, K) of the open segment."""
        if self.store.sums:
            return state["keys"]
        tokens = ops.maximum(ops.cast(state["length"], "float32"), 1.0)
        return state["keys"] / ops.expand(tokens, -1, -2)

    def _begun(self, state: State, x: Mapping[str, Tensor], position: Tensor) -> State:
        """The state whose online memory begins, where it does, at the rule's initial state."""
        initial, carries = self.form.initial(x), self.memory.start == "checkpoint"
        afresh = self.cuts and not carries
        if initial is None and not afresh:
            return state
        begins = ops.equal(state["length"] if afresh else position, 0)
        start = state["online"].like(0.0) if initial is None else initial
        online = ops.where(ops.expand(begins, 1, 2, 3), start, state["online"])
        return {**state, "online": online}


def _count(name: str, meaning: str) -> Declared:
    return Declared(name, "B", ("B",), meaning, "int64")
