"""Additive matrix memories S (B, H, K, V): S <- a S + k v^T, read S^T q."""

import numpy as np

from planted.pieces import Array, Inputs, Rule, State, Token

QKV = ("q", "k", "v")


def empty(inputs: Inputs) -> State:
    """Nothing is stored."""
    (batch, _, heads, key), value = inputs["k"].shape, inputs["v"].shape[-1]
    return {"S": np.zeros((batch, heads, key, value), inputs["k"].dtype)}


def no_parameters(inputs: Inputs, d_initial: State) -> Inputs:
    """The empty memory depends on nothing."""
    return {}


def read(state: State, x: Token) -> Array:
    """`S^T q`."""
    return pull(state["S"], x["q"])


def read_backward(state: State, x: Token, dy: Array) -> tuple[State, Inputs]:
    """`dS = q dy^T`, `dq = S dy`."""
    return {"S": outer(x["q"], dy)}, {"q": push(state["S"], dy)}


def decays(x: Token) -> Array:
    """The factor a, shaped to multiply S: 1, one per head, or one per key channel."""
    log_decay = x.get("log_decay")
    if log_decay is None:
        return np.ones((1, 1, 1, 1), x["k"].dtype)
    a: Array = np.exp(log_decay)
    return a[..., None, None] if a.ndim == 2 else a[..., None]


def step(state: State, x: Token) -> State:
    """`S <- a S + k v^T`."""
    return {"S": decays(x) * state["S"] + outer(x["k"], x["v"])}


def step_backward(state: State, x: Token, d_state: State) -> tuple[State, Inputs]:
    """`dk = dS v`, `dv = dS^T k`, `dlog_decay = <a dS, S>`, `dS <- a dS`."""
    dS = d_state["S"]
    decayed = decays(x) * dS
    d_x = {"k": push(dS, x["v"]), "v": pull(dS, x["k"])}
    if "log_decay" in x:
        per_key = (decayed * state["S"]).sum(axis=-1)
        d_x["log_decay"] = per_key if x["log_decay"].ndim == 3 else per_key.sum(axis=-1)
    return {"S": decayed}, d_x


def outer(a: Array, b: Array) -> Array:
    """`a b^T` per row and head."""
    return a[..., :, None] * b[..., None, :]


def push(S: Array, v: Array) -> Array:
    """`S v` (B, H, K)."""
    return np.einsum("bhkv,bhv->bhk", S, v)


def pull(S: Array, k: Array) -> Array:
    """`S^T k` (B, H, V)."""
    return np.einsum("bhkv,bhk->bhv", S, k)


def matrix_rule(*gates: str) -> Rule:
    """An additive memory, with the further inputs that it takes."""
    return Rule((*QKV, *gates), (), empty, no_parameters, step, step_backward, read, read_backward)


LINEAR = matrix_rule()
GATED_LINEAR = matrix_rule("log_decay")
GLA = matrix_rule("log_decay")
