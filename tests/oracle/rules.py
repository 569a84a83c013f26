"""What one token does to the memory of one head, and how that memory is read.

A memory is the matrix M (V, K) and the normaliser z (K,), which only normalised linear attention
reads. Read `M q` without any scale. Sources: linear attention, RetNet, DeltaNet, Gated DeltaNet.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import autograd.numpy as anp

Rule = Mapping[str, Any]
Token = Mapping[str, Any]
EPSILON = 1e-6


class Memory(NamedTuple):
    """One head's memory: M (V, K) and z (K,)."""

    matrix: Any
    normaliser: Any


def empty(key_width: int, value_width: int) -> Memory:
    """The memory at the start of an independent segment."""
    return Memory(anp.zeros((value_width, key_width)), anp.zeros(key_width))


def feature(rule: Rule, x: Any) -> Any:
    """phi(x): identity, or elu(x) + 1, which is exp(x) below zero and x + 1 above."""
    if rule.get("feature_map", "identity") == "identity":
        return x
    return anp.where(x > 0, x + 1.0, anp.exp(anp.minimum(x, 0.0)))


def write(rule: Rule, memory: Memory, token: Token) -> Memory:
    """The memory after the token has been written into it."""
    return WRITES[rule["kind"]](rule, memory, token)


def read(rule: Rule, memory: Memory, q: Any) -> Any:
    """M phi(q), over z . phi(q) + 1e-6 when the rule normalises."""
    query = feature(rule, q)
    value = anp.dot(memory.matrix, query)
    if rule.get("normalize", False):
        value = value / (anp.dot(memory.normaliser, query) + EPSILON)
    return value


def write_linear(rule: Rule, memory: Memory, token: Token) -> Memory:
    """M + v phi(k)^T, z + phi(k)."""
    key = feature(rule, token["k"])
    return Memory(memory.matrix + anp.outer(token["v"], key), memory.normaliser + key)


def write_decayed(rule: Rule, memory: Memory, token: Token) -> Memory:
    """exp(log_decay) M + v k^T."""
    decay = anp.exp(token["log_decay"])
    return memory._replace(matrix=decay * memory.matrix + anp.outer(token["v"], token["k"]))


def write_delta(rule: Rule, memory: Memory, token: Token) -> Memory:
    """M + beta (v - M k) k^T."""
    error = token["v"] - anp.dot(memory.matrix, token["k"])
    correction = token["beta"] * anp.outer(error, token["k"])
    return memory._replace(matrix=memory.matrix + correction)


def write_gated_delta(rule: Rule, memory: Memory, token: Token) -> Memory:
    """A = exp(log_decay) M, then A + beta (v - A k) k^T."""
    decayed = memory._replace(matrix=anp.exp(token["log_decay"]) * memory.matrix)
    return write_delta(rule, decayed, token)


WRITES: dict[str, Callable[[Rule, Memory, Token], Memory]] = {
    "linear": write_linear,
    "retention": write_decayed,
    "gated_linear": write_decayed,
    "delta": write_delta,
    "gated_delta": write_gated_delta,
}
