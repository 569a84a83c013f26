"""The matrix LSTM as xLSTM's equations have it: C (V, K), n (K,), and the running maximum m.

m' = max(log sigmoid(f~) + m, i~)
C' = exp(log sigmoid(f~) + m - m') C + exp(i~ - m') v k^T / sqrt(K), n' alike with k / sqrt(K)
read: C q / (max(|n . q|, exp(-m)) + 1e-6)
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np

EPSILON = 1e-6


class Triple(NamedTuple):
    """One head's memory."""

    matrix: Any
    normaliser: Any
    largest: Any


def empty_triple(key_width: int, value_width: int) -> Triple:
    """All zero, m too."""
    return Triple(anp.zeros((value_width, key_width)), anp.zeros(key_width), 0.0)


def write_triple(memory: Triple, token: Mapping[str, Any]) -> Triple:
    """The memory after one token."""
    kept = memory.largest - anp.logaddexp(0.0, -token["fgate"])
    largest = anp.maximum(kept, token["igate"])
    forget, write = anp.exp(kept - largest), anp.exp(token["igate"] - largest)
    key = token["k"] / np.sqrt(len(token["k"]))
    return Triple(
        forget * memory.matrix + write * anp.outer(token["v"], key),
        forget * memory.normaliser + write * key,
        largest,
    )


def read_triple(memory: Triple, q: Any) -> Any:
    """C q over the denominator."""
    below = anp.maximum(anp.abs(anp.dot(memory.normaliser, q)), anp.exp(-memory.largest))
    return anp.dot(memory.matrix, q) / (below + EPSILON)


def mix_triples(gates: list[Any], memories: list[Triple]) -> Triple:
    """Soup: C and n weighed by g_i exp(m_i - m*), m* the largest m_i."""
    largest = memories[0].largest
    for memory in memories[1:]:
        largest = anp.maximum(largest, memory.largest)
    weights = [
        gate * anp.exp(memory.largest - largest)
        for gate, memory in zip(gates, memories, strict=True)
    ]
    pairs = list(zip(weights, memories, strict=True))
    matrix = sum(weight * memory.matrix for weight, memory in pairs)
    normaliser = sum(weight * memory.normaliser for weight, memory in pairs)
    return Triple(matrix, normaliser, largest)
