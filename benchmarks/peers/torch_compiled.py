"""PyTorch, compiled: TorchInductor on the stacked form, which it unrolls over the segments.

It has N steps to unroll, where the pairs have N^2 / 2. Needs a C++ compiler.
"""

import torch

from benchmarks.peers.torch_layer import Torch, contender
from benchmarks.peers.torch_stacked import stacked
from benchmarks.problem import Arrays, Problem
from mcore.arrays import Array


def make(problem: Problem, inputs: Arrays, dy: Array) -> Torch:
    """Compiles at the first call, for minutes if there are many segments."""
    torch._dynamo.reset()
    return contender(torch.compile(stacked, dynamic=False), problem, inputs, dy)
