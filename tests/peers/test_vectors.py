"""LSTM and GRU of torch, in float64: one module per head.

mcore takes the gates' pre-activations: W_ih is the identity and the input bias 0. W_hh is the
transpose of `recurrent`; gates are i f g o, and r z n with torch's b_hn as `recurrent_bias`.
"""

from collections.abc import Callable
from typing import Any

from mcore.testing.strategies import Sizes
from peers.meeting import Tensors, every_backend, inputs_of, meet, peer

torch = peer("torch")
SIZES = Sizes(B=2, T=40, H=3, K=4, V=5)


def by_head(module: Callable[..., Any], bias: Callable[[Tensors, int], Any]) -> Any:
    """y (B, T, H, V) of a torch recurrent module whose weights are those of each head in turn."""

    def theirs(x: Tensors) -> Any:
        return torch.stack([one(x, h) for h in range(x["x"].shape[2])], dim=2)

    def one(x: Tensors, h: int) -> Any:
        matrix = x["recurrent"][h].T
        rows, width = matrix.shape
        weights = {
            "weight_ih_l0": torch.eye(rows, dtype=matrix.dtype),
            "weight_hh_l0": matrix,
            "bias_ih_l0": torch.zeros(rows, dtype=matrix.dtype),
            "bias_hh_l0": bias(x, h),
        }
        made = module(rows, width, batch_first=True, dtype=matrix.dtype)
        return torch.func.functional_call(made, weights, (x["x"][:, :, h],))[0]

    return theirs


@every_backend
def test_lstm(backend: str) -> None:
    """`torch.nn.LSTM`."""

    def bias(x: Tensors, h: int) -> Any:
        return torch.zeros(4 * SIZES.V, dtype=torch.float64)

    meet("lstm", by_head(torch.nn.LSTM, bias), inputs_of("lstm", SIZES), backend, "float64")


@every_backend
def test_gru(backend: str) -> None:
    """`torch.nn.GRU`: `h = (1 - z) n + z h` with the reset after the product."""

    def bias(x: Tensors, h: int) -> Any:
        none = torch.zeros(2 * SIZES.V, dtype=torch.float64)
        return torch.cat([none, x["recurrent_bias"][h]])

    meet("gru", by_head(torch.nn.GRU, bias), inputs_of("gru", SIZES), backend, "float64")
