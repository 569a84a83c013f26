"""Mistakes in the choice of the best few checkpoints."""

import numpy as np

from planted.bug import plant
from planted.menu import kernel
from planted.pieces import Array
from planted.routing import Choose, softmax

TOP_K = 2


def chosen(order: Array, logits: Array, top_k: int = TOP_K) -> Array:
    """The first `top_k` checkpoints of an order, and the online memory."""
    counting = np.zeros(logits.shape, bool)
    np.put_along_axis(counting, order[..., :top_k], True, axis=-1)
    counting[..., -1] = True
    return counting


@plant("routing.choose", kernel("linear", "ssc"), "ssc_grm")
def top_k_one_short(logits: Array) -> Array:
    """One checkpoint fewer than asked for is chosen."""
    return Choose(TOP_K - 1)(logits)


@plant("routing.choose", kernel("linear", "ssc"), "ties")
def ties_to_the_newer(logits: Array) -> Array:
    """Of checkpoints with equal logits the newer one is chosen."""
    backwards = np.argsort(-logits[..., -2::-1], axis=-1, kind="stable")
    return chosen(logits.shape[-1] - 2 - backwards, logits)


@plant("routing.choose", kernel("delta", "ssc"), "agreement")
def the_worst_few(logits: Array) -> Array:
    """The order is ascending, so that the worst checkpoints are chosen."""
    return chosen(np.argsort(logits[..., :-1], axis=-1, kind="stable"), logits)


@plant("routing.choose", kernel("gated_linear", "ssc"), "agreement")
def ranks_taken_for_indices(logits: Array) -> Array:
    """The rank of each checkpoint is used as if it were the index of each rank."""
    order = np.argsort(-logits[..., :-1], axis=-1, kind="stable")
    return chosen(np.argsort(order, axis=-1, kind="stable"), logits)


@plant("routing.choose", kernel("gated_delta", "ssc"), "packed")
def chosen_for_the_batch(logits: Array) -> Array:
    """All rows of a batch read the checkpoints that are best on average."""
    shared = np.broadcast_to(logits.mean(axis=0, keepdims=True), logits.shape)
    return Choose(TOP_K)(shared)


@plant("routing.choose", kernel("linear", "ssc"), "permutation", "NL_Hecate's plan")
def the_newest_few(logits: Array) -> Array:
    """The newest checkpoints are chosen, whatever is in them."""
    newest = np.arange(logits.shape[-1] - 2, -1, -1)
    return chosen(np.broadcast_to(newest, (*logits.shape[:-1], len(newest))), logits)


@plant("routing.choose", kernel("gla", "ssc"), "ssc_grm")
def online_takes_a_place(logits: Array) -> Array:
    """The online memory competes for one of the `top_k` places."""
    order = np.argsort(-logits, axis=-1, kind="stable")
    return chosen(order, logits)


@plant("routing.normalise", kernel("linear", "ssc"), "gates_sum_to_one")
def dropped_without_renormalising(logits: Array, counting: Array) -> Array:
    """Gates are a softmax over all memories, of which the unselected ones are dropped."""
    return np.where(counting, softmax(logits, np.ones_like(counting)), 0)
