"""Terms missing from the gradients of the readout; forward is right."""

import numpy as np

from planted.bug import plant
from planted.menu import kernel
from planted.mixing import (
    answers_backward,
    by_channel_backward,
    channel_gate,
    mixture,
    soup_backward,
)
from planted.pieces import Array, Inputs, Rule, State, Token
from planted.routing import counts, running_mean_backward, score_backward

Mixed = tuple[list[State], Array, Inputs]


@plant("routing.normalise_backward", kernel("linear", "grm"), "gradients")
def softmax_without_its_mean(gates: Array, d_gates: Array) -> Array:
    """The softmax's Jacobian is taken for its diagonal."""
    return gates * d_gates


@plant("routing.pool_backward", kernel("gated_linear", "grm"), "gradients")
def running_means_held(d_means: Array) -> Array:
    """The contexts of open segments count as constant; only checkpoints' reach the keys."""
    last = np.zeros_like(d_means)
    last[:, -1] = d_means[:, -1]
    return running_mean_backward(last)


@plant("routing.pool_backward", kernel("delta", "grm"), "gradients")
def keys_without_the_gates(d_means: Array) -> Array:
    """Keys take no gradient from gates, only from what they write."""
    return np.zeros_like(d_means)


@plant("routing.pool_backward", kernel("gla", "grm"), "gradients")
def divided_by_the_whole_length(d_means: Array) -> Array:
    """The gradient of a running mean is divided by the length of the whole segment."""
    return running_mean_backward(d_means * counts(d_means) / counts(d_means)[-1])


@plant("routing.pool_backward", kernel("linear", "ssc"), "gradients")
def only_the_newest_key(d_means: Array) -> Array:
    """The gradient of a running mean goes to the newest key alone."""
    return d_means / counts(d_means)


@plant("routing.score_backward", kernel("gated_delta", "grm"), "gradients")
def no_gradient_of_u(u: Array, contexts: Array, d_logits: Array) -> tuple[Array, Array]:
    """u takes no gradient."""
    return np.zeros_like(u), score_backward(u, contexts, d_logits)[1]


@plant("routing.score_backward", kernel("linear", "soup"), "gradients")
def logits_scaled_once_too_often(u: Array, contexts: Array, d_logits: Array) -> tuple[Array, Array]:
    """The gradients of logits are divided by the square root of K twice."""
    return score_backward(u, contexts, d_logits * u.dtype.type(u.shape[-1] ** -0.5))


@plant("mixing.mix_backward", kernel("delta", "residual"), "gradients")
def query_asks_the_online_memory_alone(
    rule: Rule, memories: list[State], gates: Array, token: Token, dy: Array
) -> Mixed:
    """q takes a gradient from the online memory's answer only."""
    d_memories, d_gates, _ = answers_backward(rule, memories, gates, token, dy)
    return d_memories, d_gates, answers_backward(rule, memories[-1:], gates[..., -1:], token, dy)[2]


@plant("mixing.mix_backward", kernel("dla", "grm"), "gradients")
def gates_held(rule: Rule, memories: list[State], gates: Array, token: Token, dy: Array) -> Mixed:
    """Gates count as constant."""
    d_memories, d_gates, d_token = answers_backward(rule, memories, gates, token, dy)
    return d_memories, 0 * d_gates, d_token


@plant("mixing.mix_backward", kernel("titans", "soup"), "gradients")
def soup_of_one_layer(
    rule: Rule, memories: list[State], gates: Array, token: Token, dy: Array
) -> Mixed:
    """Gates take a gradient from the mixture's output weights and not from its input weights."""
    d_memories, _, d_token = soup_backward(rule, memories, gates, token, dy)
    d_mixture, _ = rule.read_backward(mixture(memories, gates), token, dy)
    each = [(d_mixture["w_out"] * memory["w_out"]).sum(axis=(-2, -1)) for memory in memories]
    return d_memories, np.stack(each, axis=-1), d_token


@plant("mixing.mix_backward", kernel("linear", "sigmoid"), "gradients")
def channel_gates_held(
    rule: Rule, memories: list[State], gates: Array, token: Token, dy: Array
) -> Mixed:
    """The answers' own part in their gates is left out of their gradients."""
    _, d_gates, d_token = by_channel_backward(rule, memories, gates, token, dy)
    *cached, online = [rule.read(memory, token) for memory in memories]
    d_answers = [channel_gate(answer, online, token) * dy for answer in cached]
    pairs = zip(memories, [*d_answers, dy], strict=True)
    return [rule.read_backward(memory, token, d)[0] for memory, d in pairs], d_gates, d_token
