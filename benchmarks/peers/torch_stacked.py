"""PyTorch, eager: one batched product per segment, over gated copies of its queries.

y_s = online_s + [g_1 q | ... | g_{s-1} q] [M_1; ...; M_{s-1}]
"""

import torch
from torch import Tensor

from benchmarks.peers.torch_layer import Torch, contender, parts
from benchmarks.problem import Arrays, Problem
from mcore.arrays import Array


def stacked(q: Tensor, k: Tensor, v: Tensor, u: Tensor, length: int) -> Tensor:
    """y (P, T, V)."""
    found = parts(q, k, v, u, length)
    states, answers = found.states.flatten(1, 2), [found.online[:, 0]]
    for s in range(1, found.states.shape[1]):
        gated = found.gates[:, s, :, :s].unsqueeze(-1) * found.q[:, s].unsqueeze(2)
        seen = states[:, : s * k.shape[-1]]
        answers.append(torch.baddbmm(found.online[:, s], gated.flatten(2), seen))
    return torch.cat(answers, 1)


def make(problem: Problem, inputs: Arrays, dy: Array) -> Torch:
    """See `stacked`."""
    return contender(stacked, problem, inputs, dy)
