"""What a memory costs: useful FLOPs, and numbers that a stream has to keep."""

from dataclasses import dataclass
from itertools import pairwise
from math import prod

from mcore.cache.compact import stored_bytes
from mcore.memory_layer import Memory
from mcore.readout import Ssc
from mcore.recurrence import Dims
from mcore.segmentation import Adaptive, Constant, Segmentation


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
        delta = 2.0 * self.state_numbers if getattr(self.memory.rule, "corrects", False) else 0.0
        gates = self.gate_flops * (self._seen(tokens, self.memory.cache.limit) + 1)
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
        readout, limit = self.memory.readout, self.memory.cache.limit
        if not readout.reads_cache:
            return 0.0
        if isinstance(readout, Ssc):
            return self._seen(tokens, min(readout.top_k, limit or readout.top_k))
        summed = not self.gate_flops and self.memory.rule.linear_read
        return self._seen(tokens, 1 if summed else limit)

    def checkpoints(self, tokens: int) -> int:
        """Checkpoints in the cache after `tokens` tokens; at most, if content decides."""
        if not self.memory.readout.reads_cache:
            return 0
        cut, limit = self.memory.segmentation, self.memory.cache.limit
        closed = tokens // step if (step := _step(cut)) else len(cut.borders(0, 0, tokens))
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

    def _seen(self, tokens: int, most: int | None) -> float:
        """Mean over the tokens of the checkpoints before their segment, `most` at most.

        Nothing is made that grows with the number of tokens, which may be any.
        """
        cut, most = self.memory.segmentation, tokens if most is None else most
        if step := _step(cut):
            whole, rest = divmod(tokens, step)
            return (step * _stairs(whole, most) + rest * min(whole, most)) / tokens
        ends = [0, *cut.borders(0, 0, tokens), tokens]
        lengths = [end - begin for begin, end in pairwise(ends)]
        return sum(length * min(s, most) for s, length in enumerate(lengths)) / tokens

    @property
    def state_numbers(self) -> int:
        """P."""
        return prod(self.memory.rule.state_shape(self.dims))

    @property
    def dims(self) -> Dims:
        """Of one token of one head."""
        hidden = self.memory.rule.sizes(self.key, self.value).get("E", 0)
        return Dims(1, 1, 1, self.key, self.value, hidden)


def _step(cut: Segmentation) -> int | None:
    """Tokens from border to border where they are all alike: the fewest, if content decides."""
    if isinstance(cut, Constant):
        return cut.length
    return cut.min if isinstance(cut, Adaptive) else None


def _stairs(count: int, most: int) -> int:
    """min(0, most) + min(1, most) + ... of `count` terms."""
    rising = min(count, most)
    return rising * (rising - 1) // 2 + (count - rising) * most
