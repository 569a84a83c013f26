"""What the visible memories of a token give together, done right; the online one is the last."""

import numpy as np

from planted.pieces import Array, Inputs, Mixing, Rule, State, Token, plus, times, zeros

Mixed = tuple[list[State], Array, Inputs]


def blank(inputs: Inputs) -> Array:
    """Zeros; of a rule without values, V is the height of its recurrent matrices."""
    like = inputs["v"] if "v" in inputs else inputs["x"]
    width = like.shape[-1] if "v" in inputs else inputs["recurrent"].shape[1]
    return np.zeros((*like.shape[:3], width), like.dtype)


def online_alone(count: int) -> Array:
    """`none`: the online memory."""
    return np.eye(count)[-1]


def all_alike(count: int) -> Array:
    """`residual`: every gate is 1."""
    return np.ones(count)


def mean(count: int) -> Array:
    """`moving_average`: the mean of what all answer."""
    return np.full(count, 1 / count)


def answers(rule: Rule, memories: list[State], gates: Array, token: Token) -> Array:
    """y = sum_i g_i M_i(q)."""
    each = [rule.read(memory, token) for memory in memories]
    return np.einsum("bhn,nbhv->bhv", gates, np.stack(each))


def answers_backward(
    rule: Rule, memories: list[State], gates: Array, token: Token, dy: Array
) -> Mixed:
    """Every memory is asked again, and takes its share of dy."""
    d_memories: list[State] = []
    d_token: Inputs = {}
    d_gates = np.zeros_like(gates)
    for i, memory in enumerate(memories):
        d_gates[..., i] = (rule.read(memory, token) * dy).sum(axis=-1)
        d_memory, d_query = rule.read_backward(memory, token, gates[..., i, None] * dy)
        d_memories.append(d_memory)
        d_token = plus(d_token, d_query)
    return d_memories, d_gates, d_token


def soup(rule: Rule, memories: list[State], gates: Array, token: Token) -> Array:
    """y = (sum_i g_i M_i)(q)."""
    return rule.read(mixture(memories, gates), token)


def soup_backward(
    rule: Rule, memories: list[State], gates: Array, token: Token, dy: Array
) -> Mixed:
    """One read backwards; every memory takes its share of the mixture's gradient."""
    d_mixture, d_token = rule.read_backward(mixture(memories, gates), token, dy)
    d_gates = np.zeros_like(gates)
    for i, memory in enumerate(memories):
        for name, gradient in d_mixture.items():
            d_gates[..., i] += _inner(gradient, memory[name])
    return [times(gates[..., i], d_mixture) for i in range(len(memories))], d_gates, d_token


def mixture(memories: list[State], gates: Array) -> State:
    """Gate times memory, summed."""
    mixed = zeros(memories[0])
    for i, memory in enumerate(memories):
        mixed = plus(mixed, times(gates[..., i], memory))
    return mixed


def by_channel(rule: Rule, memories: list[State], gates: Array, token: Token) -> Array:
    """`sigmoid`: y = o + sum_i s(o W_a + o_i W_b + b) o_i."""
    *cached, online = [rule.read(memory, token) for memory in memories]
    y = online
    for answer in cached:
        y = y + channel_gate(answer, online, token) * answer
    return y


def channel_gate(answer: Array, online: Array, token: Token) -> Array:
    """A gate for every channel (B, H, V)."""
    z = np.einsum("bhv,hvw->bhw", online, token["gate_online"])
    z = z + np.einsum("bhv,hvw->bhw", answer, token["gate_cached"]) + token["gate_bias"]
    gate: Array = 1 / (1 + np.exp(-z))
    return gate


def by_channel_backward(
    rule: Rule, memories: list[State], gates: Array, token: Token, dy: Array
) -> Mixed:
    """Through each gate to both answers and to the gates' parameters."""
    *cached, online = [rule.read(memory, token) for memory in memories]
    d_online, d_each = dy, []
    d_token: Inputs = {}
    for answer in cached:
        gate = channel_gate(answer, online, token)
        dz = dy * answer * gate * (1 - gate)
        d_online = d_online + np.einsum("bhw,hvw->bhv", dz, token["gate_online"])
        d_each.append(gate * dy + np.einsum("bhw,hvw->bhv", dz, token["gate_cached"]))
        d_token = plus(d_token, _gate_gradients(answer, online, dz))
    d_memories = []
    for memory, d_answer in zip(memories, [*d_each, d_online], strict=True):
        d_memory, d_query = rule.read_backward(memory, token, d_answer)
        d_memories.append(d_memory)
        d_token = plus(d_token, d_query)
    return d_memories, np.zeros_like(gates), d_token


def _gate_gradients(answer: Array, online: Array, dz: Array) -> Inputs:
    return {
        "gate_online": np.einsum("bhv,bhw->hvw", online, dz),
        "gate_cached": np.einsum("bhv,bhw->hvw", answer, dz),
        "gate_bias": dz.sum(axis=0),
    }


def _inner(a: Array, b: Array) -> Array:
    """<a, b> per row and head."""
    product: Array = (a * b).reshape(*a.shape[:2], -1).sum(axis=-1)
    return product


NONE = Mixing(blank, online_alone, answers, answers_backward)
RESIDUAL = Mixing(blank, all_alike, answers, answers_backward)
AVERAGE = Mixing(blank, mean, answers, answers_backward)
SOUP = Mixing(blank, all_alike, soup, soup_backward)
SIGMOID = Mixing(blank, all_alike, by_channel, by_channel_backward)
