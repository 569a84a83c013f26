"""Mistakes in vectors and in the matrix LSTM."""

import numpy as np

from planted.bug import plant
from planted.menu import kernel
from planted.pieces import Array, State, Token
from planted.rules import mlstm
from planted.rules.matrix import pull
from planted.rules.vector import gru_gates, lstm_gates, recur, sigmoid


@plant("rule.step", kernel("lstm", "grm"), "one_segment")
def gates_in_another_order(state: State, x: Token) -> State:
    """Pre-activations are taken in the order i f o g."""
    i, f, o, g = np.split(x["x"] + recur(state["h"], x), 4, axis=-1)
    c = sigmoid(f) * state["c"] + sigmoid(i) * np.tanh(g)
    return {"h": sigmoid(o) * np.tanh(c), "c": c}


@plant("rule.step", kernel("lstm", "none"), "one_segment")
def output_of_the_old_cell(state: State, x: Token) -> State:
    """The output gate lets out the cell before the token is written."""
    i, f, g, o = lstm_gates(state["h"], x)
    return {"h": o * np.tanh(state["c"]), "c": f * state["c"] + i * g}


@plant("rule.step", kernel("gru", "grm"), "one_segment")
def bias_outside_the_reset(state: State, x: Token) -> State:
    """The reset gate spares the recurrent bias: tanh(x + r (h U) + c)."""
    r, z, _, past = gru_gates(state["h"], x)
    xn = np.split(x["x"], 3, axis=-1)[2]
    n = np.tanh(xn + r * (past - x["recurrent_bias"]) + x["recurrent_bias"])
    return {"h": (1 - z) * n + z * state["h"]}


@plant("rule.step", kernel("gru", "residual"), "one_segment")
def update_gate_reversed(state: State, x: Token) -> State:
    """z keeps the new vector instead of the old one."""
    _, z, n, _ = gru_gates(state["h"], x)
    return {"h": z * n + (1 - z) * state["h"]}


@plant("rule.read", kernel("mlstm", "grm"), "one_segment")
def denominator_at_least_one(state: State, x: Token) -> Array:
    """The denominator is at least 1, and not exp(-m), although n is scaled by exp(-m)."""
    along = np.abs((state["n"] * x["q"]).sum(axis=-1))
    return pull(state["C"], x["q"]) / (np.maximum(along, 1) + mlstm.EPS)[..., None]


@plant("rule.step", kernel("mlstm", "grm"), "one_segment")
def forget_gate_exponential(state: State, x: Token) -> State:
    """The forget gate is exp(f~) where it should be its sigmoid."""
    return mlstm.step(state, {**x, "fgate": -np.log(np.expm1(-np.minimum(x["fgate"], -1e-3)))})
