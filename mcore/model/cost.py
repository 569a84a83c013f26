"""What a memory costs: useful FLOPs, and numbers that a stream has to keep."""

from dataclasses import dataclass

import numpy as np

from mcore.cache.compact import stored_bytes
from mcore.cutting import Visibility, assemble
from mcore.documents import stretches, whole
from mcore.memory_layer import Memory
from mcore.readout import Ssc
from mcore.recurrence import Dims
from mcore.segments import Segments, fresh


@dataclass(frozen=True)
class MemoryCost:
    """Cost of one head's memory, independent of how a backend computes it.

    Per token, a multiply-add counting 2: write and online read as the rule says (4 K V of a matrix
    memory); each checkpoint read alike (2 K V); each logit 2 K, or 2 V^2 where gates are made of
    answers. Backward is twice the forward.
    """

    memory: Memory
    key: int
    value: int

    def flops(self, tokens: int) -> float:
        """Mean FLOPs of a token in a sequence of `tokens`."""
        state, segments = self.state_numbers, self.segments(tokens)
        delta = 2.0 * state if getattr(self.memory.rule, "corrects", False) else 0.0
        gates = self.gate_flops * float(segments.visible[0].sum(axis=-1).mean() + 1)
        reads = self.memory.rule.read_flops(self.dims) * self.reads(tokens)
        return self.memory.rule.flops(self.dims) + delta + reads + gates

    @property
    def gate_flops(self) -> float:
        """FLOPs of one memory's gate: none if it is a constant."""
        if self.memory.readout.answers_gate:
            return 2.0 * self.value**2
        return 2.0 * self.key if self.memory.readout.routing else 0.0

    def reads(self, tokens: int) -> float:
        """Mean number of checkpoints that a token reads."""
        readout = self.memory.readout
        if not readout.reads_cache:
            return 0.0
        seen = self.segments(tokens).visible[0].sum(axis=-1)
        if isinstance(readout, Ssc):
            return float(np.minimum(seen, readout.top_k).mean())
        if not self.gate_flops and self.memory.rule.linear_read:
            return float((seen > 0).mean())
        return float(seen.mean())

    def checkpoints(self, tokens: int) -> int:
        """Checkpoints in the cache after `tokens` tokens; at most, if content decides."""
        if not self.memory.readout.reads_cache:
            return 0
        closed, limit = int(self.segments(tokens).closed[0]), self.memory.cache.limit
        return closed if limit is None else min(closed, limit)

    def state_bytes(self, tokens: int, itemsize: int) -> int:
        """Bytes of the state: online memory, open key sum, and the cache."""
        open_segment = itemsize * (self.state_numbers + self.context)
        return open_segment + self.checkpoints(tokens) * self.checkpoint_bytes(itemsize)

    def checkpoint_bytes(self, itemsize: int) -> int:
        """Bytes of one checkpoint, as the cache stores it, and its context."""
        row = self.memory.rule.state_shape(self.dims)[-1]
        stored = stored_bytes(self.state_numbers, self.memory.cache.dtype, row, itemsize)
        return stored + itemsize * self.context

    @property
    def context(self) -> int:
        """Numbers in a context."""
        return self.key if self.memory.readout.routing else 0

    def segments(self, tokens: int) -> Segments:
        """The cuts of one sequence; the most there may be, if content decides."""
        segmentation, progress = self.memory.segmentation, fresh(1)
        spans = whole(1, tokens, progress.position, progress.position).spans
        lists = [stretches(segmentation, spans[0], 0, 0)]
        return assemble(lists, tokens, progress, Visibility(False, self.memory.cache.limit))

    @property
    def state_numbers(self) -> int:
        """P."""
        return int(np.prod(self.memory.rule.state_shape(self.dims)))

    @property
    def dims(self) -> Dims:
        """Of one token of one head."""
        hidden = self.memory.rule.sizes(self.key, self.value).get("E", 0)
        return Dims(1, 1, 1, self.key, self.value, hidden)
