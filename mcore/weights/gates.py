"""From torch's layout of a layer to what a vector memory takes, and gradients back.

    torch   gates_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh             W (G*V, ...)
    mcore   gates_t = x_t W_ih^T + b + h_{t-1} U,  U = W_hh^T           x (B, T, H, G*V), H = 1

Both order an LSTM's gates i f g o and a GRU's r z n, and in both a GRU keeps z of what it was:
h = (1 - z) n + z h. An LSTM's b is b_ih + b_hh. A GRU's candidate is tanh(. + r (h U_n + c_n)): the
last third of b_hh lies inside the reset, as `recurrent_bias`, and is left out of b.

Source: the documentation of torch.nn.LSTM and torch.nn.GRU.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.layers.linear import linear, linear_backward


class Layer(NamedTuple):
    """One layer's weights as a memory takes them.

    Attributes:
        project: (C, G*V) of the input.
        bias: (G*V,) added to it, 0 if there is none.
        fixed: the memory's parameters: `recurrent` (1, V, G*V); of a GRU `recurrent_bias` (1, V).
    """

    project: Array
    bias: Array
    fixed: dict[str, Array]

    def gates(self, x: Array) -> tuple[Array, Any]:
        """(B, T, C) to the pre-activations (B, T, 1, G*V), and what `gates_backward` needs."""
        y, saved = linear(x, self.project)
        y += self.bias
        return y[:, :, None], saved


def to_memory(params: Mapping[str, Array], suffix: str) -> Layer:
    """A layer from torch's arrays."""
    into, hidden = params["weight_ih" + suffix], params["weight_hh" + suffix]
    rows, width = hidden.shape
    none = np.zeros(rows, hidden.dtype)
    bias, inner = params.get("bias_ih" + suffix, none), params.get("bias_hh" + suffix, none)
    fixed = {"recurrent": np.ascontiguousarray(hidden.T)[None]}
    if rows == 3 * width:
        fixed["recurrent_bias"] = inner[None, 2 * width :]
        inner = np.where(np.arange(rows) < 2 * width, inner, 0)
    return Layer(into.T, bias + inner, fixed)


def gates_backward(saved: Any, d_inputs: Mapping[str, Array], suffix: str) -> dict[str, Array]:
    """Gradients of the layer's input, as `x`, and of torch's arrays with biases.

    Args:
        saved: from `Layer.gates`.
        d_inputs: from the memory's `backward`.
        suffix: of the layer's names.
    """
    d_gates = d_inputs["x"][:, :, 0]
    dx, d_project = linear_backward(saved, d_gates)
    d_bias = d_gates.sum(axis=(0, 1))
    d_inner = d_bias
    if "recurrent_bias" in d_inputs:
        d_candidate = d_inputs["recurrent_bias"][0]
        d_inner = np.concatenate([d_bias[: -d_candidate.size], d_candidate])
    return {
        "x": dx,
        "weight_ih" + suffix: d_project.T,
        "weight_hh" + suffix: d_inputs["recurrent"][0].T,
        "bias_ih" + suffix: d_bias,
        "bias_hh" + suffix: d_inner,
    }
