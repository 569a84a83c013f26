"""What of a checkpoint is read, rule by rule: a matrix, and what its answers are divided by."""

from typing import NamedTuple

from mcore.recurrence import Recurrence

PLAIN = frozenset(
    {"linear", "retention", "gated_linear", "mamba2", "delta", "gated_delta", "gla", "rwkv7"}
)
"""Rules whose checkpoints are the matrix S (K, V) that is read: `S^T q`."""


class Anatomy(NamedTuple):
    """Where S lies in a checkpoint of `size` numbers.

    Attributes:
        keys, values: of S.
        size: of the checkpoint.
        stride: from one row of S to the next.
        divided: whether answers are divided by the column behind S.
    """

    keys: int
    values: int
    size: int
    stride: int
    divided: bool


def is_matrix(rule: Recurrence) -> bool:
    """Whether a rule's checkpoints have an `Anatomy`."""
    return rule.kind in PLAIN or rule.kind == "swla"


def anatomy(rule: Recurrence, keys: int, size: int) -> Anatomy | None:
    """Of a rule's checkpoints of `size` numbers; None if they are not read as matrices."""
    if not is_matrix(rule):
        return None
    if rule.kind == "swla":
        stride = size // (keys + 1)
        return Anatomy(keys, stride - 1, size, stride, False)
    stride, divided = size // keys, bool(getattr(rule, "normalize", False))
    return Anatomy(keys, stride - divided, size, stride, divided)
