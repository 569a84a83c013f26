"""What a memory costs: useful FLOPs, and numbers that a stream has to keep."""

from dataclasses import dataclass

import numpy as np

from mcore.memory_layer import Memory
from mcore.readout import Ssc
from mcore.recurrence import Dims
from mcore.segments import Segments, cut, fresh


@dataclass(frozen=True)
class MemoryCost:
    """Cost of one head's memory, independent of how a backend computes it.

    Per token, a multiply-add counting 2: write and online read as the rule says (4 K V of a matrix
    memory); each checkpoint read alike (2 K V); each logit 2 K. Backward is twice the forward.
    """

    memory: Memory
    key: int
    value: int

    def flops(self, tokens: int) -> float:
        """Mean FLOPs of a token in a sequence of `tokens`."""
        state, segments = self.state_numbers, self.segments(tokens)
        delta = 2.0 * state if getattr(self.memory.rule, "corrects", False) else 0.0
        seen = segments.visible[0].sum(axis=-1)
        logits = 2.0 * self.key * (seen.mean() + 1) if self.memory.readout.router else 0.0
        reads = self.memory.rule.read_flops(self.dims) * self.reads(tokens)
        return self.memory.rule.flops(self.dims) + delta + reads + logits

    def reads(self, tokens: int) -> float:
        """Mean number of checkpoints that a token reads."""
        readout = self.memory.readout
        if not readout.reads_cache:
            return 0.0
        seen = self.segments(tokens).visible[0].sum(axis=-1)
        if isinstance(readout, Ssc):
            return float(np.minimum(seen, readout.top_k).mean())
        if readout.router is None and self.memory.rule.linear_read:
            return float((seen > 0).mean())
        return float(seen.mean())

    def checkpoints(self, tokens: int) -> int:
        """Checkpoints in the cache after `tokens` tokens."""
        return int(self.segments(tokens).closed[0]) if self.memory.readout.reads_cache else 0

    def numbers(self, tokens: int) -> int:
        """Numbers in the state: online memory, checkpoints, contexts and the open key sum."""
        context = self.key if self.memory.readout.router else 0
        return (self.checkpoints(tokens) + 1) * (self.state_numbers + context)

    def segments(self, tokens: int) -> Segments:
        """The cuts of one sequence."""
        return cut(self.memory.segmentation, False, tokens, fresh(1))

    @property
    def state_numbers(self) -> int:
        """P."""
        return int(np.prod(self.memory.rule.state_shape(self.dims)))

    @property
    def dims(self) -> Dims:
        """Of one token of one head."""
        hidden = self.memory.rule.sizes(self.key, self.value).get("E", 0)
        return Dims(1, 1, 1, self.key, self.value, hidden)
