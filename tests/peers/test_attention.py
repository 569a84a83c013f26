"""Causal softmax attention of torch, in float64."""

import pytest
from tolerances import tolerance

from mcore.backend import get_backend
from mcore.testing.agreement import assert_agree
from mcore.testing.samples import sample_normal
from peers.meeting import every_backend, heads_first, peer

torch = peer("torch")


@every_backend
@pytest.mark.parametrize("window", [None, 7])
def test_attention(backend: str, window: int | None) -> None:
    """`scaled_dot_product_attention` with heads first; a window as its mask."""
    shapes = [(2, 70, 3, 8), (2, 70, 3, 8), (2, 70, 3, 5)]
    q, k, v = arrays = [sample_normal(shape, seed) for seed, shape in enumerate(shapes)]
    y, saved = get_backend(backend).attention(q, k, v, window)
    dy = sample_normal(y.shape, 9)
    gradients = get_backend(backend).attention_backward(saved, dy)
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    age = torch.arange(70)[:, None] - torch.arange(70)
    mask = (age >= 0) & (age < (window or 70))
    attention = torch.nn.functional.scaled_dot_product_attention
    answer = attention(*heads_first(*tensors), attn_mask=mask).transpose(1, 2)
    (answer * torch.tensor(dy)).sum().backward()
    assert_agree(y, answer.detach().numpy(), tolerance("float64", "forward"), "y")
    for name, gradient, tensor in zip("qkv", gradients, tensors, strict=True):
        assert_agree(gradient, tensor.grad.numpy(), tolerance("float64", "backward"), name)
