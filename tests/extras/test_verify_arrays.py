"""`mcore verify` on kernels whose arrays are of another library."""

from typing import Any

import numpy as np
import pytest

from mcore.testing import Effort, Exchange, Kernel
from mcore.testing.verify import verify

pytest.importorskip("torch")


@pytest.mark.parametrize(("library", "dtype"), [("torch", "float64"), ("jax", "float32")])
@pytest.mark.parametrize("layout", ["BTHD", "BHTD"])
def test_arrays_come_back_as_they_went(library: str, dtype: str, layout: str) -> None:
    pytest.importorskip(library)
    exchange = Exchange(layout, library, dtype)
    array = np.arange(2 * 3 * 4 * 5, dtype=dtype).reshape(2, 3, 4, 5)
    given = exchange.give(array, "B T H K")
    assert type(given).__module__.partition(".")[0] in (library, "jaxlib")
    assert tuple(given.shape) == ((2, 3, 4, 5) if layout == "BTHD" else (2, 4, 3, 5))
    taken = exchange.take(given, "B T H K")
    assert taken.dtype == array.dtype and np.array_equal(taken, array)
    assert exchange.give(array[0, 0], "H K").shape == (4, 5)


def linear_attention(inputs: dict[str, Any], lengths: list[int]) -> Any:
    """Residual readout of independent sums, as attention; in torch, (B, H, T, .)."""
    import torch

    q, k, v = (inputs[name] for name in "qkv")
    return torch.tril(q @ k.mT) @ v


def linear_attention_backward(inputs: dict[str, Any], lengths: list[int], dy: Any) -> Any:
    """Its gradients."""
    import torch

    leaves = {name: x.requires_grad_() for name, x in inputs.items()}
    y = linear_attention(leaves, lengths)
    return dict(zip(leaves, torch.autograd.grad(y, [*leaves.values()], dy), strict=True))


def test_a_torch_kernel() -> None:
    kernel = Kernel(
        linear_attention,
        linear_attention_backward,
        readout="residual",
        exchange=Exchange(layout="BHTD", arrays="torch"),
    )
    names = ["residual_linear", "gradients", "dtype", "inputs_untouched", "nan_poison"]
    report = verify(kernel, Effort(examples=3, seconds=2.0), names)
    assert report.ok, [str(outcome.violation) for outcome in report.broken]
    assert len([o for o in report.outcomes if o.tried]) == 5
