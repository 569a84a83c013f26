"""The delta rule: S <- a S + beta k (v - (a S)^T k)^T, S (B, H, K, V), read S^T q."""

import numpy as np

from planted.pieces import Array, Inputs, Rule, State, Token
from planted.rules.matrix import (
    QKV,
    decays,
    empty,
    no_parameters,
    outer,
    pull,
    push,
    read,
    read_backward,
)


def error(decayed: Array, x: Token) -> Array:
    """`e = v - A^T k`, A the decayed memory."""
    wrong: Array = x["v"] - pull(decayed, x["k"])
    return wrong


def step(state: State, x: Token) -> State:
    """`A = a S`, then `A + beta k e^T`."""
    decayed = decays(x) * state["S"]
    return {"S": decayed + outer(x["beta"][..., None] * x["k"], error(decayed, x))}


def step_backward(state: State, x: Token, d_state: State) -> tuple[State, Inputs]:
    """`de = beta dS^T k`, `dA = dS - k de^T`, `dk = beta dS e - A de`, `dv = de`."""
    k, beta, dS = x["k"], x["beta"], d_state["S"]
    decayed = decays(x) * state["S"]
    e = error(decayed, x)
    d_error = beta[..., None] * pull(dS, k)
    d_decayed = dS - outer(k, d_error)
    d_x = {
        "k": beta[..., None] * push(dS, e) - push(decayed, d_error),
        "v": d_error,
        "beta": np.einsum("bhk,bhkv,bhv->bh", k, dS, e),
    }
    if "log_decay" in x:
        d_x["log_decay"] = (d_decayed * decayed).sum(axis=(-2, -1))
    return {"S": decays(x) * d_decayed}, d_x


def delta_rule(*gates: str) -> Rule:
    """A corrected memory, with the further inputs that it takes."""
    return Rule((*QKV, *gates), (), empty, no_parameters, step, step_backward, read, read_backward)


DELTA = delta_rule("beta")
GATED_DELTA = delta_rule("beta", "log_decay")
