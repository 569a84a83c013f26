"""What the PyTorch forms share: gates, online reads, states, and a contender around a form.

Shapes: q, k, v, u (P, T, K) with P = rows x heads; N segments of L tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.peers import flat, unflat_all
from benchmarks.problem import Arrays, Problem
from mcore.arrays import Array

Form = Callable[..., Tensor]
NAMES = ("q", "k", "v", "u")


class Parts(NamedTuple):
    """Queries (P, N, L, K), states (P, N, K, V), gates of the checkpoints (P, N, L, N), and the
    online memory's answers times its gates (P, N, L, V)."""

    q: Tensor
    states: Tensor
    gates: Tensor
    online: Tensor


def parts(q: Tensor, k: Tensor, v: Tensor, u: Tensor, length: int) -> Parts:
    """Everything but the cached reads."""
    q, k, v = (x.unflatten(1, (-1, length)) for x in (q, k, v))
    cached, own = gates(k, u)
    online = (q @ k.transpose(-1, -2)).tril() @ v
    return Parts(q, k.transpose(-1, -2) @ v, cached, own.unsqueeze(-1) * online)


def gates(k: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax over the mean keys of earlier segments, and the running mean of the own one."""
    _, n, length, width = k.shape
    running = k.cumsum(2) / torch.arange(1, length + 1, dtype=k.dtype).unsqueeze(-1)
    cached = (u @ running[:, :, -1].transpose(1, 2)).unflatten(1, (n, length))
    own = (u.unflatten(1, (n, length)) * running).sum(-1, keepdim=True)
    ahead = torch.ones(n, n, dtype=torch.bool).triu().unsqueeze(1)
    logits = torch.cat([cached.masked_fill(ahead, -torch.inf), own], -1)
    weights = torch.softmax(logits * width**-0.5, -1)
    return weights[..., :-1], weights[..., -1]


@dataclass
class Torch:
    """A form, its inputs, and the gradient of y."""

    form: Form
    problem: Problem
    inputs: list[Tensor]
    dy: Tensor

    def forward(self) -> Tensor:
        """y, without keeping anything for a backward."""
        with torch.no_grad():
            return self.form(*self.inputs, self.problem.segment)

    def both(self) -> Any:
        """y and the gradients."""
        y = self.form(*self.inputs, self.problem.segment)
        return y, torch.autograd.grad(y, self.inputs, self.dy)

    def plain(self, found: Any) -> Arrays:
        """As NumPy arrays in mcore's layout."""
        y, grads = found
        named = {name: x.numpy() for name, x in zip(NAMES, grads, strict=True)}
        return unflat_all(y.detach().numpy(), named, self.problem)


def contender(form: Form, problem: Problem, inputs: Arrays, dy: Array) -> Torch:
    """A form on one thread."""
    torch.set_num_threads(1)
    tensors = [torch.from_numpy(flat(inputs[name])).requires_grad_() for name in NAMES]
    return Torch(form, problem, tensors, torch.from_numpy(flat(dy)))
