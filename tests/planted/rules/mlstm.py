"""The matrix LSTM: C (B, H, K, V) and its normaliser n (B, H, K), both scaled by exp(-m).

m' = max(log f + m, i~),  f' = exp(log f + m - m'),  i' = exp(i~ - m'),  log f = log sigmoid(f~)
C' = f' C + i' k v^T / sqrt(K),  n' = f' n + i' k / sqrt(K)
y = C^T q / (max(|n . q|, exp(-m)) + 1e-6)
"""

import numpy as np

from planted.pieces import Array, Inputs, Rule, State, Token, times
from planted.rules.matrix import QKV, no_parameters, outer, pull, push

EPS = 1e-6


def empty(inputs: Inputs) -> State:
    """Nothing is stored, and m is 0."""
    (batch, _, heads, key), value = inputs["k"].shape, inputs["v"].shape[-1]
    shapes = {"C": (key, value), "n": (key,), "m": ()}
    dtype = inputs["k"].dtype
    return {name: np.zeros((batch, heads, *shape), dtype) for name, shape in shapes.items()}


def log_forget(x: Token) -> Array:
    """`log sigmoid(f~)`."""
    return -np.logaddexp(np.zeros_like(x["fgate"]), -x["fgate"])


def gates(m: Array, x: Token) -> tuple[Array, Array, Array]:
    """f', i' and m'."""
    remembered = log_forget(x) + m
    largest = np.maximum(remembered, x["igate"])
    return np.exp(remembered - largest), np.exp(x["igate"] - largest), largest


def scaled_key(x: Token) -> Array:
    """`k / sqrt(K)`."""
    key: Array = x["k"] * np.asarray(x["k"].shape[-1] ** -0.5, x["k"].dtype)
    return key


def step(state: State, x: Token) -> State:
    """The equations above."""
    forget, write, largest = gates(state["m"], x)
    key = write[..., None] * scaled_key(x)
    kept = times(forget, {"C": state["C"], "n": state["n"]})
    return {"C": kept["C"] + outer(key, x["v"]), "n": kept["n"] + key, "m": largest}


def step_backward(state: State, x: Token, d_state: State) -> tuple[State, Inputs]:
    """The maximum hands its gradient to the larger one."""
    forget, write, _ = gates(state["m"], x)
    dC, dn, key = d_state["C"], d_state["n"], scaled_key(x)
    written = push(dC, x["v"]) + dn
    d_forget = forget * ((dC * state["C"]).sum(axis=(-2, -1)) + (dn * state["n"]).sum(axis=-1))
    d_write = write * (key * written).sum(axis=-1)
    d_largest = d_state["m"] - d_forget - d_write
    remembers = log_forget(x) + state["m"] >= x["igate"]
    d_kept = d_forget + np.where(remembers, d_largest, 0)
    d_x = {
        "k": write[..., None] * written * np.asarray(key.shape[-1] ** -0.5, key.dtype),
        "v": write[..., None] * pull(dC, key),
        "igate": d_write + np.where(remembers, 0, d_largest),
        "fgate": d_kept * np.exp(log_forget({"fgate": -x["fgate"]})),
    }
    return {**times(forget, {"C": dC, "n": dn}), "m": d_kept}, d_x


def floor(state: State) -> Array:
    """The least denominator, exp(-m)."""
    return np.exp(-state["m"])


def read(state: State, x: Token) -> Array:
    """`C^T q` over the denominator."""
    along = np.abs((state["n"] * x["q"]).sum(axis=-1))
    return pull(state["C"], x["q"]) / (np.maximum(along, floor(state)) + EPS)[..., None]


def read_backward(state: State, x: Token, dy: Array) -> tuple[State, Inputs]:
    """The rule of quotients; the denominator's gradient goes to the larger of the two."""
    q, along = x["q"], (state["n"] * x["q"]).sum(axis=-1)
    least = floor(state)
    below = np.maximum(np.abs(along), least) + EPS
    d_above = dy / below[..., None]
    d_below = -(d_above * pull(state["C"], q)).sum(axis=-1) / below
    d_along = np.where(np.abs(along) > least, np.sign(along) * d_below, 0)
    dm = np.where(np.abs(along) > least, 0, -least * d_below)
    dq = push(state["C"], d_above) + d_along[..., None] * state["n"]
    return {"C": outer(q, d_above), "n": d_along[..., None] * q, "m": dm}, {"q": dq}


MLSTM = Rule(
    (*QKV, "igate", "fgate"), (), empty, no_parameters, step, step_backward, read, read_backward
)
