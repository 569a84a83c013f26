"""PyTorch, eager: one batched product per pair of a segment and a checkpoint before it.

y_s = online_s + sum_i g_i (q M_i)
"""

import torch
from torch import Tensor

from benchmarks.peers.torch_layer import Torch, contender, parts
from benchmarks.problem import Arrays, Problem
from mcore.arrays import Array


def pairs(q: Tensor, k: Tensor, v: Tensor, u: Tensor, length: int) -> Tensor:
    """y (P, T, V)."""
    found, answers = parts(q, k, v, u, length), []
    states = found.states.unbind(1)
    rows = zip(found.q.unbind(1), found.gates.unbind(1), found.online.unbind(1), strict=True)
    for s, (queries, gates, answer) in enumerate(rows):
        weights = gates.unsqueeze(-2).unbind(-1)
        for i in range(s):
            answer = answer + weights[i] * (queries @ states[i])
        answers.append(answer)
    return torch.cat(answers, 1)


def make(problem: Problem, inputs: Arrays, dy: Array) -> Torch:
    """See `pairs`."""
    return contender(pairs, problem, inputs, dy)
