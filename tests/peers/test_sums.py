"""Memories that add up: flash-linear-attention's PyTorch references (fla-core).

They compute in float32 whatever they are given, and read `S^T q`. Where a scale of q is not an
argument they multiply it by K^-1/2, and here q comes multiplied by K^1/2.
"""

import numpy as np

from peers.meeting import SIZES, Tensors, every_backend, heads_first, inputs_of, meet, peer

torch = peer("torch")
gla = peer("fla.ops.gla.naive")
linear = peer("fla.ops.linear_attn.naive")
retention = peer("fla.ops.retention.naive")
simple_gla = peer("fla.ops.simple_gla.naive")

ROOT = SIZES.K**0.5


@every_backend
def test_linear_attention(backend: str) -> None:
    """`naive_recurrent_linear_attn` with scale 1; q, k, v as they are."""

    def theirs(x: Tensors) -> object:
        return linear.naive_recurrent_linear_attn(x["q"], x["k"], x["v"], scale=1.0)[0]

    meet("linear", theirs, inputs_of("linear"), backend, "float32")


@every_backend
def test_normalised_linear_attention(backend: str) -> None:
    """`naive_recurrent_linear_attn` with normalize; queries and keys are positive, so that their
    1e-10 and mcore's 1e-6 in the denominator do not show."""
    recurrence = {"kind": "linear", "feature_map": "identity", "normalize": True}

    def theirs(x: Tensors) -> object:
        q, k, v = (x[name] for name in "qkv")
        return linear.naive_recurrent_linear_attn(q, k, v, scale=1.0, normalize=True)[0]

    meet(recurrence, theirs, inputs_of(recurrence), backend, "float32")


@every_backend
def test_retention(backend: str) -> None:
    """`naive_retention`, a (T, T) matrix per head, heads first, with the decays 1 - 2^(-5-h)."""
    inputs = inputs_of("retention")
    inputs["log_decay"] = np.log1p(-(2.0 ** (-5.0 - np.arange(SIZES.H))))

    def theirs(x: Tensors) -> object:
        q, k, v = heads_first(ROOT * x["q"], x["k"], x["v"])
        return retention.naive_retention(q, k, v).transpose(1, 2)

    meet("retention", theirs, inputs, backend, "float32")


@every_backend
def test_one_decay_per_head_token_by_token(backend: str) -> None:
    """`naive_recurrent_simple_gla`: Mamba-2's SSD with q = C, k = B, v = dt x, g = dt A."""

    def theirs(x: Tensors) -> object:
        inputs = (x[name] for name in ("q", "k", "v", "log_decay"))
        return simple_gla.naive_recurrent_simple_gla(*inputs, scale=1.0)[0]

    meet("gated_linear", theirs, inputs_of("gated_linear"), backend, "float32")


@every_backend
def test_one_decay_per_head_in_chunks(backend: str) -> None:
    """`naive_chunk_simple_gla`, in chunks of 16."""

    def theirs(x: Tensors) -> object:
        inputs = (x[name] for name in ("q", "k", "v", "log_decay"))
        return simple_gla.naive_chunk_simple_gla(*inputs, chunk_size=16, scale=1.0)[0]

    inputs = inputs_of("gated_linear")
    inputs["log_decay"] = np.maximum(inputs["log_decay"], -2.0)
    meet("gated_linear", theirs, inputs, backend, "float32")


@every_backend
def test_one_decay_per_head_as_attention(backend: str) -> None:
    """`naive_parallel_simple_gla`, a (T, T) matrix per head."""

    def theirs(x: Tensors) -> object:
        inputs = (x[name] for name in ("q", "k", "v", "log_decay"))
        return simple_gla.naive_parallel_simple_gla(*inputs, scale=1.0)[0]

    inputs = inputs_of("gated_linear")
    inputs["log_decay"] = np.maximum(inputs["log_decay"], -0.5)
    meet("gated_linear", theirs, inputs, backend, "float32")


@every_backend
def test_one_decay_per_channel(backend: str) -> None:
    """`naive_recurrent_gla` with gk the log decays of the key channels."""

    def theirs(x: Tensors) -> object:
        return gla.naive_recurrent_gla(ROOT * x["q"], x["k"], x["v"], x["log_decay"])[0]

    meet("gla", theirs, inputs_of("gla"), backend, "float32")
