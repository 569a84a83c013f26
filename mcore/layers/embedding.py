"""Token embedding: a row of the table per token."""

import numpy as np

from mcore.arrays import Array, namespace
from mcore.errors import DataError
from mcore.layers.linear import rows
from mcore.placing import sent

Saved = tuple[Array, tuple[int, ...]]

# Rows that one round of `sum_by_token` adds up. Measured on 4k-32k tokens and vocabularies of
# 64-10000: 4 takes up to 1.3 times as long, 16 is within a tenth; `np.add.at` takes 5 to 13 times.
GROUP = 8


def embedding(tokens: Array, weight: Array) -> tuple[Array, Saved]:
    """Look up the row of every token.

        y[b, t] = W[tokens[b, t]]

    Shapes: tokens (B, T) of integers in [0, vocab), on the host, weight (vocab, D) -> y (B, T, D).

    Raises:
        DataError: a token is outside the table.
    """
    check_range("embedding: token", tokens, weight.shape[0])
    return weight[sent(weight, tokens)], (tokens, weight.shape)


def embedding_backward(saved: Saved, dy: Array) -> Array:
    """Gradient of `embedding` for the table; the same numbers on every run.

        dW[v] = sum of dy[b, t] over all (b, t) with tokens[b, t] = v

    Shapes: dy (B, T, D) -> dweight (vocab, D).
    """
    tokens, (vocab, width) = saved
    dweight: Array = namespace(dy).zeros((vocab, width), dy.dtype)
    if tokens.size:
        present, sums = sum_by_token(tokens.reshape(-1), rows(dy))
        dweight[sent(dy, present)] = sums
    return dweight


def sum_by_token(tokens: Array, dy: Array) -> tuple[Array, Array]:
    """The distinct tokens in ascending order, and for each the sum of its rows of `dy`.

    Sorts the rows by token, then adds up groups of GROUP neighbours until one row per token is
    left: as accurate as a tree, no atomic adds, and no slower where a few tokens make up most
    of the text. What goes where is decided on the host, where tokens are.

    Shapes: tokens (N,), dy (N, D) -> present (M,), sums (M, D).
    """
    order = np.argsort(tokens, kind="stable")
    counts = np.bincount(tokens)
    present = np.flatnonzero(counts)
    counts = counts[present]
    sums = dy
    while sums is dy or len(sums) > len(present):
        sums, counts = _add_groups(sums, order, counts)
        order = np.arange(len(sums))
    return present, sums


def _add_groups(values: Array, order: Array, counts: Array) -> tuple[Array, Array]:
    """One round: `values[order]` holds `counts[i]` neighbours of token i; add up groups of them."""
    take = namespace(values).take
    groups = -(-counts // GROUP)
    ends = np.cumsum(groups)
    each = np.arange(int(ends[-1]))
    token = np.searchsorted(ends, each, side="right")
    offset = GROUP * (each - (ends - groups)[token])
    left = counts[token] - offset
    first = (np.cumsum(counts) - counts)[token] + offset
    total: Array = take(values, sent(values, order[first]), axis=0)
    for nth in range(1, min(GROUP, int(left.max()))):
        some = np.flatnonzero(left > nth)
        more = take(values, sent(values, order[first[some] + nth]), axis=0)
        total[sent(values, some)] += more
    return total, groups


def check_range(what: str, indices: Array, size: int) -> None:
    """Raise DataError if an index is not in [0, size): a negative one would wrap around."""
    if indices.size and (int(indices.min()) < 0 or int(indices.max()) >= size):
        found = int(indices.min()) if int(indices.min()) < 0 else int(indices.max())
        raise DataError(f"{what} {found} is outside the vocabulary: expected 0 to {size - 1}")
