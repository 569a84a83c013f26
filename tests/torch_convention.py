"""LSTM and GRU in plain loops, as the documentation of torch.nn writes them, gate by gate.

    LSTM  i, f, o = sigmoid(W_i. x + b_i. + W_h. h + b_h.)   g = tanh(the same)
          c' = f c + i g      h' = o tanh(c')
    GRU   r, z = sigmoid(W_i. x + b_i. + W_h. h + b_h.)
          n = tanh(W_in x + b_in + r (W_hn h + b_hn))      h' = (1 - z) n + z h

Weights are stacked gate by gate: (W_ii|W_if|W_ig|W_io), (W_ir|W_iz|W_in).
"""

from collections.abc import Mapping

import numpy as np

from mcore.arrays import Array

GATES = {"lstm": 4, "gru": 3}


def weights(kind: str, features: int, width: int, layers: int, seed: int = 0) -> dict[str, Array]:
    """Random weights under torch's names, as large as torch's own."""
    rng, found = np.random.default_rng(seed), {}
    rows = GATES[kind] * width
    for n in range(layers):
        into = width if n else features
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, into), "weight_hh": (rows, width)}
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        for name, shape in shapes.items():
            found[f"{name}_l{n}"] = rng.uniform(-1, 1, shape) / width**0.5
    return found


def run(kind: str, params: Mapping[str, Array], x: Array, layers: int) -> tuple[Array, list[Array]]:
    """h (B, T, V) of the last layer, and each layer's last vectors."""
    cell, ends = {"lstm": lstm_cell, "gru": gru_cell}[kind], []
    for n in range(layers):
        own = {name: array for name, array in params.items() if name.endswith(f"_l{n}")}
        width = own[f"weight_hh_l{n}"].shape[1]
        h, c, outputs = np.zeros((len(x), width)), np.zeros((len(x), width)), []
        for t in range(x.shape[1]):
            h, c = cell(gate_sums(own, f"_l{n}", x[:, t], h, GATES[kind]), h, c)
            outputs.append(h)
        x = np.stack(outputs, axis=1)
        ends.append(np.stack([h, c]))
    return x, ends


Sums = list[tuple[Array, Array]]
"""For each gate, what comes from the input and what from h."""


def gate_sums(own: Mapping[str, Array], suffix: str, x: Array, h: Array, gates: int) -> Sums:
    def part(name: str) -> list[Array]:
        return np.split(own[name + suffix], gates)

    zeros = [np.zeros(len(w)) for w in part("weight_hh")]
    b_ih = part("bias_ih") if "bias_ih" + suffix in own else zeros
    b_hh = part("bias_hh") if "bias_hh" + suffix in own else zeros
    pieces = zip(part("weight_ih"), b_ih, part("weight_hh"), b_hh, strict=True)
    return [(x @ w.T + b, h @ u.T + d) for w, b, u, d in pieces]


def lstm_cell(sums: Sums, h: Array, c: Array) -> tuple[Array, Array]:
    i, f, g, o = (a + b for a, b in sums)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_cell(sums: Sums, h: Array, c: Array) -> tuple[Array, Array]:
    r, z = (sigmoid(a + b) for a, b in sums[:2])
    n = np.tanh(sums[2][0] + r * sums[2][1])
    return (1 - z) * n + z * h, c


def sigmoid(x: Array) -> Array:
    y: Array = 1 / (1 + np.exp(-x))
    return y
