"""A cache that is one memory: constant gates over a linear read need no more, however long.

residual        sum of the checkpoints            y = o + read(m)
moving_average  their mean                        y = (o + n read(m)) / (n + 1)
                or their exponential mean         y = (1 - rate) read(m) + rate o
"""

from mcore.export import ops
from mcore.export.algebra import column
from mcore.export.builder import Tensor
from mcore.memory_layer import Memory
from mcore.readout import MovingAverage, Readout, Residual
from mcore.segmentation import NoSegmentation


def mixes(memory: Memory) -> bool:
    """Whether one memory does: no checkpoint is ever dropped, and reads are linear."""
    if isinstance(memory.segmentation, NoSegmentation) or memory.cache.limit is not None:
        return False
    return memory.rule.linear_read and isinstance(memory.readout, Residual | MovingAverage)


def added(readout: Readout, mixture: Tensor, checkpoint: Tensor, count: Tensor) -> Tensor:
    """The mixture (B, H, *state_shape) of one checkpoint more than `count` (B,)."""
    if not isinstance(readout, MovingAverage):
        return mixture + checkpoint
    if readout.weights == "uniform":
        share = ops.expand(1.0 / (ops.cast(count, "float32") + 1.0), 1, 2, 3)
        return mixture + share * (checkpoint - mixture)
    blended = (1 - readout.rate) * mixture + readout.rate * checkpoint
    return ops.where(ops.expand(ops.equal(count, 0), 1, 2, 3), checkpoint, blended)


def answered(readout: Readout, online: Tensor, cached: Tensor, count: Tensor) -> Tensor:
    """y (B, H, V) from the answers of the online memory and of the mixture."""
    if not isinstance(readout, MovingAverage):
        return online + cached
    number = column(ops.cast(count, "float32"))
    if readout.weights == "uniform":
        return (online + number * cached) / (number + 1.0)
    blended = (1 - readout.rate) * cached + readout.rate * online
    return ops.where(ops.greater(number, 0.0), blended, online)
