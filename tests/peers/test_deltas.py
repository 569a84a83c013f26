"""Memories that correct themselves: flash-linear-attention's PyTorch references (fla-core).

They put heads before tokens unless said otherwise and multiply q by K^-1/2, so that q comes
multiplied by K^1/2. All but `delta_rule_chunkwise` compute in float32.
"""

import numpy as np

from peers.meeting import SIZES, Tensors, every_backend, heads_first, inputs_of, meet, peer

torch = peer("torch")
delta = peer("fla.ops.delta_rule.naive")
gated = peer("fla.ops.gated_delta_rule.naive")
low_rank = peer("fla.ops.generalized_delta_rule.dplr.naive")

ROOT = SIZES.K**0.5


@every_backend
def test_delta_rule_token_by_token(backend: str) -> None:
    """`delta_rule_recurrence`, beta as it is."""

    def theirs(x: Tensors) -> object:
        return delta.delta_rule_recurrence(*heads_first(ROOT * x["q"], x["k"], x["v"], x["beta"]))[
            0
        ].transpose(1, 2)

    meet("delta", theirs, inputs_of("delta"), backend, "float32")


@every_backend
def test_delta_rule_in_chunks(backend: str) -> None:
    """`delta_rule_chunkwise`, the UT transform in chunks of 32; stays in float64."""

    def theirs(x: Tensors) -> object:
        return delta.delta_rule_chunkwise(
            *heads_first(ROOT * x["q"], x["k"], x["v"], x["beta"]), chunk_size=32
        )[0].transpose(1, 2)

    meet("delta", theirs, inputs_of("delta"), backend, "float64")


@every_backend
def test_gated_delta_rule_token_by_token(backend: str) -> None:
    """`naive_recurrent_gated_delta_rule` (B, T, H) with g the log decay: decay, then error."""

    def theirs(x: Tensors) -> object:
        q, k, v, beta, g = (x[name] for name in ("q", "k", "v", "beta", "log_decay"))
        return gated.naive_recurrent_gated_delta_rule(q, k, v, beta, g, scale=1.0)[0]

    meet("gated_delta", theirs, inputs_of("gated_delta"), backend, "float32")


@every_backend
def test_gated_delta_rule_in_chunks(backend: str) -> None:
    """`naive_chunk_gated_delta_rule` (B, T, H), in chunks of 16."""

    def theirs(x: Tensors) -> object:
        q, k, v, g, beta = (x[name] for name in ("q", "k", "v", "log_decay", "beta"))
        made = gated.naive_chunk_gated_delta_rule(q, k, v, g, beta, chunk_size=16, scale=1.0)
        return made[0]

    inputs = inputs_of("gated_delta")
    inputs["log_decay"] = np.maximum(inputs["log_decay"], -2.0)
    meet("gated_delta", theirs, inputs, backend, "float32")


def low_rank_inputs(x: Tensors) -> list[object]:
    """RWKV-7 as S diag(exp gk) + (S alpha) beta^T + v k^T: alpha = -kk, beta = kk * a."""
    removed, written = -x["kk"], x["kk"] * x["a"]
    return heads_first(ROOT * x["q"], x["k"], x["v"], removed, written, x["log_decay"])


@every_backend
def test_rwkv7_token_by_token(backend: str) -> None:
    """`dplr_recurrence`; its alpha and beta are cast here, the rest it casts itself."""

    def theirs(x: Tensors) -> object:
        q, k, v, removed, written, decay = low_rank_inputs(x)
        pair = removed.float(), written.float()  # type: ignore[attr-defined]
        return low_rank.dplr_recurrence(q, k, v, *pair, decay)[0].transpose(1, 2)

    meet("rwkv7", theirs, inputs_of("rwkv7"), backend, "float32")


@every_backend
def test_rwkv7_in_chunks(backend: str) -> None:
    """`dplr_chunkwise`, in chunks of 16 with decays above -1, as RWKV-7's bounded ones are."""

    def theirs(x: Tensors) -> object:
        chunks = [tensor.float() for tensor in low_rank_inputs(x)]  # type: ignore[attr-defined]
        return low_rank.dplr_chunkwise(*chunks, chunk_size=16)[0].transpose(1, 2)

    inputs = inputs_of("rwkv7")
    inputs["log_decay"] = np.maximum(inputs["log_decay"], -1.0)
    meet("rwkv7", theirs, inputs, backend, "float32")
