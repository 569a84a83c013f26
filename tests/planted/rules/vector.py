"""Vectors: what is read is h (B, H, V), without a query; z = x + h recurrent.

lstm, gates i f g o:  c' = s(f) c + s(i) tanh(g),  h' = s(o) tanh(c')
gru, gates r z n:     n = tanh(x_n + s(r) (h U_n + c_n)),  h' = (1 - s(z)) n + s(z) h
"""

import numpy as np

from planted.pieces import Array, Inputs, Rule, State, Token


def sigmoid(z: Array) -> Array:
    """`1 / (1 + exp(-z))`."""
    y: Array = 1 / (1 + np.exp(-z))
    return y


class Blank:
    """The initial state: all named vectors are zero."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __call__(self, inputs: Inputs) -> State:
        batch, _, heads, _ = inputs["x"].shape
        shape = (batch, heads, inputs["recurrent"].shape[1])
        return {name: np.zeros(shape, inputs["x"].dtype) for name in self.names}


def no_parameters(inputs: Inputs, d_initial: State) -> Inputs:
    """Zeros depend on nothing."""
    return {}


def read(state: State, x: Token) -> Array:
    """h."""
    return state["h"]


def read_backward(state: State, x: Token, dy: Array) -> tuple[State, Inputs]:
    """All of it goes to h."""
    return {"h": dy}, {}


def recur(h: Array, x: Token) -> Array:
    """`h @ recurrent` (B, H, G*V)."""
    return np.einsum("bhv,hvg->bhg", h, x["recurrent"])


def recur_backward(h: Array, x: Token, dz: Array) -> tuple[Array, Array]:
    """Gradients of h and of `recurrent`."""
    dh = np.einsum("bhg,hvg->bhv", dz, x["recurrent"])
    return dh, np.einsum("bhv,bhg->hvg", h, dz)


def lstm_gates(h: Array, x: Token) -> tuple[Array, Array, Array, Array]:
    """s(i), s(f), tanh(g), s(o)."""
    i, f, g, o = np.split(x["x"] + recur(h, x), 4, axis=-1)
    return sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)


def lstm_step(state: State, x: Token) -> State:
    """The cell, then what it lets out."""
    i, f, g, o = lstm_gates(state["h"], x)
    c = f * state["c"] + i * g
    return {"h": o * np.tanh(c), "c": c}


def lstm_step_backward(state: State, x: Token, d_state: State) -> tuple[State, Inputs]:
    """Through the output gate into the cell, then into all pre-activations."""
    i, f, g, o = lstm_gates(state["h"], x)
    out = np.tanh(f * state["c"] + i * g)
    dh, dc = d_state["h"], d_state.get("c", 0) + d_state["h"] * o * (1 - out * out)
    di, df, dg = dc * g * i * (1 - i), dc * state["c"] * f * (1 - f), dc * i * (1 - g * g)
    dz = np.concatenate([di, df, dg, dh * out * o * (1 - o)], axis=-1)
    d_before, d_recurrent = recur_backward(state["h"], x, dz)
    return {"h": d_before, "c": dc * f}, {"x": dz, "recurrent": d_recurrent}


def gru_gates(h: Array, x: Token) -> tuple[Array, Array, Array, Array]:
    """s(r), s(z), n, and what r lets through: h U_n + c_n."""
    (xr, xz, xn), (hr, hz, hn) = (np.split(a, 3, axis=-1) for a in (x["x"], recur(h, x)))
    past = hn + x["recurrent_bias"]
    r = sigmoid(xr + hr)
    return r, sigmoid(xz + hz), np.tanh(xn + r * past), past


def gru_step(state: State, x: Token) -> State:
    """Between the new vector and the old one."""
    _, z, n, _ = gru_gates(state["h"], x)
    return {"h": (1 - z) * n + z * state["h"]}


def gru_step_backward(state: State, x: Token, d_state: State) -> tuple[State, Inputs]:
    """What goes through r reaches h and its bias scaled."""
    h, dh = state["h"], d_state["h"]
    r, z, n, past = gru_gates(h, x)
    dn = dh * (1 - z) * (1 - n * n)
    dr, dz = dn * past * r * (1 - r), dh * (h - n) * z * (1 - z)
    d_recurred = np.concatenate([dr, dz, dn * r], axis=-1)
    d_before, d_recurrent = recur_backward(h, x, d_recurred)
    d_x = {
        "x": np.concatenate([dr, dz, dn], axis=-1),
        "recurrent": d_recurrent,
        "recurrent_bias": (dn * r).sum(axis=0),
    }
    return {"h": d_before + dh * z}, d_x


LSTM = Rule(
    ("x",),
    ("recurrent",),
    Blank("h", "c"),
    no_parameters,
    lstm_step,
    lstm_step_backward,
    read,
    read_backward,
)
GRU = Rule(
    ("x",),
    ("recurrent", "recurrent_bias"),
    Blank("h"),
    no_parameters,
    gru_step,
    gru_step_backward,
    read,
    read_backward,
)
