"""What one token does to the memory of one head, and how that memory is read.

A memory is the matrix M (V, K) and the normaliser z (K,), which only normalised linear attention
reads. Read `M q` without any scale. A vector memory has its vectors as the rows of M. Sources:
linear attention, RetNet, DeltaNet, Gated DeltaNet, LSTM.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import autograd.numpy as anp
from autograd.tracer import getval

from oracle.deep import LOSSES, DeepMemory, empty_deep, perceive, write_deep
from oracle.stabilised import Triple, empty_triple, read_triple, write_triple

Rule = Mapping[str, Any]
Token = Mapping[str, Any]
EPSILON = 1e-6


class Memory(NamedTuple):
    """One head's memory: M (V, K), z (K,), and the last k and v if the rule remembers them."""

    matrix: Any
    normaliser: Any
    before: Any = None


def empty(rule: Rule, key_width: int, value_width: int) -> Memory:
    """The memory at the start of an independent segment."""
    if rule["kind"] in VECTORS:
        return Memory(anp.zeros((VECTORS[rule["kind"]], value_width)), anp.zeros(0))
    return Memory(anp.zeros((value_width, key_width)), anp.zeros(key_width))


def feature(rule: Rule, x: Any) -> Any:
    """phi(x): identity, or elu(x) + 1, which is exp(x) below zero and x + 1 above."""
    if rule.get("feature_map", "identity") == "identity":
        return x
    return anp.where(x > 0, x + 1.0, anp.exp(anp.minimum(x, 0.0)))


def knows(kind: str) -> bool:
    """Whether the equations of this rule are here."""
    return kind in WRITES or kind in LOSSES or kind == "mlstm"


def begin(rule: Rule, token: Token, widths: tuple[int, int]) -> Any:
    """The memory at the start of an independent segment, whose first token is given."""
    if rule["kind"] in LOSSES:
        return empty_deep(rule, token)
    if rule["kind"] == "mlstm":
        return empty_triple(*widths)
    return empty(rule, *widths)


def go_on(memory: Any) -> Any:
    """The memory at the start of a segment that carries on from the one before it."""
    return memory._replace(written=0) if isinstance(memory, DeepMemory) else memory


def write(rule: Rule, memory: Any, token: Token) -> Any:
    """The memory after the token has been written into it."""
    if isinstance(memory, DeepMemory):
        return write_deep(rule, memory, token)
    if isinstance(memory, Triple):
        return write_triple(memory, token)
    return WRITES[rule["kind"]](rule, memory, token)


def read(rule: Rule, memory: Any, q: Any) -> Any:
    """M phi(q), over z . phi(q) + 1e-6 when the rule normalises; of a perceptron, M(q)."""
    if isinstance(memory, DeepMemory):
        return perceive(memory.weights, q)
    if isinstance(memory, Triple):
        return read_triple(memory, q)
    if rule["kind"] in VECTORS:
        return memory.matrix[0]
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


def write_pair(rule: Rule, memory: Any, token: Token) -> Any:
    """exp(log_decay) M + beta_prev v' k'^T + beta v k^T, with k', v' of the token before."""
    k, v = token["k"], token["v"]
    matrix = anp.exp(token["log_decay"]) * memory.matrix + token["beta"] * anp.outer(v, k)
    if memory.before is not None:
        matrix = matrix + token["beta_prev"] * anp.outer(memory.before[1], memory.before[0])
    return memory._replace(matrix=matrix, before=(k, v))


def write_removing(rule: Rule, memory: Memory, token: Token) -> Memory:
    """M diag(exp(log_decay)) - (M kk) (kk * a)^T + v k^T, M kk with the M before its decay."""
    recalled = anp.dot(memory.matrix, token["kk"])
    decayed = memory.matrix * anp.exp(token["log_decay"])
    removed = anp.outer(recalled, token["kk"] * token["a"])
    return memory._replace(matrix=decayed - removed + anp.outer(token["v"], token["k"]))


def write_channels_decayed(rule: Rule, memory: Memory, token: Token) -> Memory:
    """M diag(exp(log_decay)) + v k^T."""
    decay = anp.exp(token["log_decay"])
    return memory._replace(matrix=memory.matrix * decay + anp.outer(token["v"], token["k"]))


def write_delta(rule: Rule, memory: Memory, token: Token) -> Memory:
    """M + beta (v - M k) k^T."""
    error = token["v"] - anp.dot(memory.matrix, token["k"])
    correction = token["beta"] * anp.outer(error, token["k"])
    return memory._replace(matrix=memory.matrix + correction)


def write_gated_delta(rule: Rule, memory: Memory, token: Token) -> Memory:
    """A = exp(log_decay) M, then A + beta (v - A k) k^T."""
    decayed = memory._replace(matrix=anp.exp(token["log_decay"]) * memory.matrix)
    return write_delta(rule, decayed, token)


def write_lstm(rule: Rule, memory: Memory, token: Token) -> Memory:
    """c = s(f) c + s(i) tanh(g), h = s(o) tanh(c); the memory is the rows h, c."""
    h, c = memory.matrix
    i, f, g, o = anp.split(token["x"] + anp.dot(h, token["recurrent"]), 4)
    c = sigmoid(f) * c + sigmoid(i) * anp.tanh(g)
    return memory._replace(matrix=anp.stack([sigmoid(o) * anp.tanh(c), c]))


def write_gru(rule: Rule, memory: Memory, token: Token) -> Memory:
    """n = tanh(x_n + r (h U_n + c_n)), h = (1 - z) n + z h; the memory is the row h."""
    (h,) = memory.matrix
    x_r, x_z, x_n = anp.split(token["x"], 3)
    u_r, u_z, u_n = anp.split(anp.dot(h, token["recurrent"]), 3)
    r, z = sigmoid(x_r + u_r), sigmoid(x_z + u_z)
    n = anp.tanh(x_n + r * (u_n + token["recurrent_bias"]))
    return memory._replace(matrix=anp.stack([(1 - z) * n + z * h]))


def write_slstm(rule: Rule, memory: Memory, token: Token) -> Memory:
    """c and n in units of exp(m), h = s(o) c / n; the memory is the rows h, c, n, m."""
    h, c, n, m = memory.matrix
    i, f, z, o = anp.split(token["x"] + anp.dot(h, token["recurrent"]), 4)
    if not anp.any(getval(n)):  # the first token
        rows = [sigmoid(o) * anp.tanh(z), anp.tanh(z), anp.ones(len(n)), i]
        return memory._replace(matrix=anp.stack(rows))
    kept = anp.log(sigmoid(f)) + m
    top = anp.maximum(i, kept)
    c = anp.exp(kept - top) * c + anp.exp(i - top) * anp.tanh(z)
    n = anp.exp(kept - top) * n + anp.exp(i - top)
    return memory._replace(matrix=anp.stack([sigmoid(o) * c / n, c, n, top]))


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + anp.exp(-x))


VECTORS = {"lstm": 2, "gru": 1, "slstm": 4}
"""Rules whose memory is that many vectors, the first of which is what a read returns."""
WRITES: dict[str, Callable[[Rule, Memory, Token], Memory]] = {
    "linear": write_linear,
    "retention": write_decayed,
    "gated_linear": write_decayed,
    "mamba2": write_decayed,
    "gla": write_channels_decayed,
    "swla": write_pair,
    "rwkv7": write_removing,
    "delta": write_delta,
    "gated_delta": write_gated_delta,
    "lstm": write_lstm,
    "gru": write_gru,
    "slstm": write_slstm,
}
