"""Where mcore and a peer meet: the same inputs, y and every gradient."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from harness import BACKENDS
from tolerances import tolerance

import mcore
from mcore.arrays import Array
from mcore.testing.agreement import assert_agree
from mcore.testing.samples import sample_inputs, sample_normal
from mcore.testing.strategies import Axis, Composition, Sizes

SIZES = Sizes(B=2, T=64, H=3, K=8, V=5)
every_backend = pytest.mark.parametrize("backend", BACKENDS)

Tensors = dict[str, Any]


def peer(name: str) -> Any:
    """A module of a peer, or the reason to skip all tests of the file."""
    reason = f"{name} is not installed; pip install 'mcore[peers]' brings it"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=reason, exc_type=ImportError)


def whole(recurrence: Axis) -> Composition:
    """The bare recurrence: one segment, nothing cached."""
    return {
        "recurrence": recurrence, "segmentation": "none", "readout": "none", "start": "independent",
    }  # fmt: skip


def inputs_of(recurrence: Axis, sizes: Sizes = SIZES, seed: int = 0) -> dict[str, Array]:
    """What the recurrence needs, in float64."""
    return sample_inputs(whole(recurrence), sizes, seed)


def meet(
    recurrence: Axis,
    theirs: Callable[[Tensors], Any],
    inputs: Mapping[str, Array],
    backend: str,
    precision: str,
) -> None:
    """Compare y and the gradient of every input, all in float64 on this side.

    Args:
        theirs: tensors by mcore's names to y (B, T, H, V); what it does to them is the mapping of
            conventions, and torch differentiates through it.
        precision: `float64`, or `float32` where the peer computes in it whatever it is given.
    """
    torch = peer("torch")
    memory = mcore.memory(**whole(recurrence), backend=backend, dtype="float64")
    y, saved = memory.forward(inputs)
    dy = sample_normal(y.shape, 7)
    gradients = memory.backward(saved, dy)
    tensors = {name: torch.tensor(x, requires_grad=True) for name, x in inputs.items()}
    answer = theirs(tensors)
    (answer * torch.tensor(dy)).sum().backward()
    assert_agree(y, answer.detach().numpy(), tolerance(precision, "forward"), "y")
    for name, tensor in tensors.items():
        if tensor.grad is not None:
            limit = tolerance(precision, "backward")
            assert_agree(gradients[name], tensor.grad.numpy(), limit, name)
            assert np.abs(gradients[name]).max() > 0, name


def heads_first(*tensors: Any) -> list[Any]:
    """(B, T, H, ...) to (B, H, T, ...)."""
    return [tensor.transpose(1, 2) for tensor in tensors]
