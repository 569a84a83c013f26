"""Where a graph cuts a stream: whether the open segment ends before the token that arrives.

A batch closes a segment after its last token, a graph before the token that follows: nobody reads
the checkpoint in between. So cuts by counting and cuts by content are one test.
"""

from itertools import accumulate
from typing import NamedTuple

import numpy as np

from mcore.errors import SpecError
from mcore.export import ops
from mcore.export.algebra import length, numbers
from mcore.export.builder import Tensor
from mcore.export.rules.base import Inputs, RuleForm
from mcore.segmentation import Adaptive, Constant, Given, NoSegmentation, Segmentation


class Open(NamedTuple):
    """The open segment as a token finds it.

    Attributes:
        position, length: (B,) int64 tokens of the stream, and of the segment, before the token.
        online: (B, H, *state_shape) its memory.
        keys: (B, H, K) the sum of its keys; None if nobody keeps it.
    """

    position: Tensor
    length: Tensor
    online: Tensor
    keys: Tensor | None


def check_streams(segmentation: Segmentation) -> None:
    """Raise SpecError unless a graph can cut as this segmentation does."""
    if isinstance(segmentation, NoSegmentation | Constant | Given | Adaptive):
        return
    if not segmentation.streams:
        raise SpecError(
            f"segmentation: {segmentation.kind} cuts depend on the total length, so no graph of "
            "one token can make them; constant, adaptive, given or none would do"
        )
    raise SpecError(
        f"segmentation: {segmentation.kind} has no ONNX form; none, constant, given and adaptive "
        "have"
    )


def closes(cut: Segmentation, opened: Open, form: RuleForm, x: Inputs) -> Tensor:
    """(B,) whether the segment ends before the token; `cut` is not `none`."""
    if isinstance(cut, Constant):
        return ops.equal(opened.length, cut.length)
    if isinstance(cut, Given):
        ends = [list(accumulate(line))[:-1] for line in cut.lengths]
        widest = max(map(len, ends))
        table = np.array([line + [-1] * (widest - len(line)) for line in ends], np.int64)
        hits = ops.equal(ops.expand(opened.position, -1), opened.position.builder.constant(table))
        return ops.greater(ops.total(ops.cast(hits, "int64"), 1), 0)
    assert isinstance(cut, Adaptive)
    measure = _drift if cut.rule == "drift" else _surprise
    odd = ops.greater(measure(opened, form, x), cut.threshold)
    full = ops.equal(opened.length, cut.max)
    return ops.either(full, ops.both(odd, ops.at_least(opened.length, cut.min)))


def _drift(opened: Open, form: RuleForm, x: Inputs) -> Tensor:
    """`|k - m| / (|k| + |m|)` over all heads, m the segment's mean key."""
    assert opened.keys is not None
    count = ops.maximum(ops.cast(opened.length, "float32"), 1.0)
    return _apart(x["k"], opened.keys / ops.expand(count, -1, -2))


def _surprise(opened: Open, form: RuleForm, x: Inputs) -> Tensor:
    """`|v - M(k)| / (|v| + |M(k)|)` over all heads, M the memory before the token."""
    return _apart(x["v"], form.read(opened.online, x["k"]))


def _apart(x: Tensor, y: Tensor) -> Tensor:
    """(B,) from (B, H, .); 0 for two zeros."""
    both = length(x, 1, 2) + length(y, 1, 2)
    there = ops.greater(both, 0.0)
    return length(x - y, 1, 2) / ops.where(there, both, numbers(both, 1.0))
