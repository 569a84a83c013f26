"""titans-pytorch's neural memory, in float64.

Its keys, values, steps, momenta and decays come from projections of one sequence; modules that hand
over what mcore was given stand in for these. Its norms are left out, its memory model and loss are
mcore's perceptron and 1/2 |M(k) - v|^2. `store_memories` takes all gradients at the weights it is
given and returns the weights after each token: fed with `chunk` tokens at a time, it is Titans with
that chunk. The weights are read here, since its own retrieval reads before the token's write.
"""

from typing import Any

import numpy as np
import pytest

from mcore.testing.strategies import Axis, Sizes
from peers.meeting import Tensors, every_backend, inputs_of, meet, peer

torch = peer("torch")
titans = peer("titans_pytorch")

SIZES = Sizes(B=2, T=12, H=2, K=4, V=4)


class Perceptron(torch.nn.Module):  # type: ignore[misc, name-defined]
    """`x + gelu(x w_in) w_out`."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w_in = torch.nn.Parameter(torch.zeros(width, hidden))
        self.w_out = torch.nn.Parameter(torch.zeros(hidden, width))

    def forward(self, x: Any) -> Any:
        return x + torch.nn.functional.gelu(x @ self.w_in) @ self.w_out


class Given(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Hands over a tensor, whatever it is called with."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Any) -> Any:
        return self.value


def neural_memory(hidden: int) -> Any:
    """Without norms; rows and heads are both its batch."""
    return titans.NeuralMemory(
        SIZES.K,
        chunk_size=1,
        model=Perceptron(SIZES.K, hidden),
        store_memory_loss_fn=lambda answer, v: ((answer - v) ** 2).sum(dim=-1) / 2,
        adaptive_step_transform=lambda step: step,
        pre_rmsnorm=False,
        mem_model_norm_add_residual=False,
    ).double()


def store(memory: Any, x: Tensors, weights: Any, past: Any) -> tuple[Any, Any]:
    """The weights after each token of a chunk, and the state to go on from."""
    memory.to_keys, memory.to_values = Given(x["k"]), Given(x["v"])
    memory.to_adaptive_step = Given(x["step"])
    memory.to_momentum = Given(torch.logit(x["momentum"])[None, ..., None])
    memory.to_decay_factor = Given(torch.logit(-torch.expm1(x["log_decay"]))[..., None])
    updates, state, _ = memory.store_memories(x["k"], weights, past)
    return {name: weight[:, 1:] for name, weight in updates.items()}, state.states


def read(weights: dict[str, Any], q: Any) -> Any:
    """`q + gelu(q w_in) w_out`, each token with its own weights."""
    hidden = torch.einsum("bnk,bnke->bne", q, weights["w_in"])
    return q + torch.einsum("bne,bnev->bnv", torch.nn.functional.gelu(hidden), weights["w_out"])


def by_chunks(x: Tensors, chunk: int) -> Any:
    """y (B, T, H, V)."""
    rows = {
        name: tensor.transpose(1, 2).reshape(SIZES.B * SIZES.H, SIZES.T, *tensor.shape[3:])
        for name, tensor in x.items()
        if not name.startswith("w_")
    }
    weights = {n: x[n].repeat(SIZES.B, 1, 1) for n in ("w_in", "w_out")}
    memory, past, answers = neural_memory(x["w_in"].shape[-1]), None, []
    for start in range(0, SIZES.T, chunk):
        tokens = {name: tensor[:, start : start + chunk] for name, tensor in rows.items()}
        after, past = store(memory, tokens, weights, past)
        answers.append(read(after, tokens["q"]))
        weights = {name: weight[:, -1] for name, weight in after.items()}
    y = torch.cat(answers, dim=1).reshape(SIZES.B, SIZES.H, SIZES.T, -1)
    return y.transpose(1, 2)


@every_backend
@pytest.mark.parametrize("chunk", [1, 4, 12])
def test_titans(backend: str, chunk: int) -> None:
    """Token by token, in chunks of 4, and in one chunk."""
    recurrence: Axis = {"kind": "titans", "chunk": chunk}
    inputs = inputs_of(recurrence, SIZES)
    inputs["log_decay"] = np.clip(inputs["log_decay"], -2.0, -0.05)
    meet(recurrence, lambda x: by_chunks(x, chunk), inputs, backend, "float64")
