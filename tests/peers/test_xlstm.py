"""mLSTM and sLSTM of xLSTM's authors (xlstm, mlstm_kernels), in float64."""

import pytest

from mcore.testing.strategies import Sizes
from peers.meeting import Tensors, every_backend, heads_first, inputs_of, meet, peer

torch = peer("torch")
cell = peer("xlstm.blocks.mlstm.backends")
kernels = peer("mlstm_kernels.torch.recurrent.native_sequence")
scalar = peer("xlstm.blocks.slstm.src.vanilla")

SQUARE = Sizes(B=2, T=64, H=3, K=6, V=6)


@every_backend
def test_mlstm_token_by_token(backend: str) -> None:
    """`recurrent_step_stabilized_simple` from C = n = m = 0, heads first, gates (B, H, 1, 1)."""

    def theirs(x: Tensors) -> object:
        q, k, v, i, f = heads_first(*(x[name] for name in ("q", "k", "v", "igate", "fgate")))
        B, H, T, K = q.shape
        state = [torch.zeros(B, H, *shape, dtype=q.dtype) for shape in ((K, K), (K, 1), (1, 1))]
        answers = []
        for t in range(T):
            at = slice(t, t + 1)
            token = [tensor[:, :, at].clone() for tensor in (q, k, v)]
            gates = [tensor[:, :, at, None] for tensor in (i, f)]
            h, state = cell.recurrent_step_stabilized_simple(*state, *token, *gates)
            answers.append(h)
        return torch.cat(answers, dim=2).transpose(1, 2)

    meet("mlstm", theirs, inputs_of("mlstm", SQUARE), backend, "float64")


@every_backend
def test_mlstm_in_chunks(backend: str) -> None:
    """`chunkwise_simple`, in chunks of 16."""

    def theirs(x: Tensors) -> object:
        made = [x[name] for name in ("q", "k", "v", "igate", "fgate")]
        rows = [tensor.contiguous() for tensor in heads_first(*made)]
        return cell.chunkwise_simple(*rows, chunk_size=16).transpose(1, 2)

    meet("mlstm", theirs, inputs_of("mlstm", SQUARE), backend, "float64")


@every_backend
def test_mlstm_as_attention(backend: str) -> None:
    """`parallel_stabilized_simple` leaves the empty start out of its maximum m, and so weighs the
    1e-6 of the denominator otherwise: input gates near 5 put the start out of mcore's as well."""

    def theirs(x: Tensors) -> object:
        q, k, v, i, f = heads_first(*(x[name] for name in ("q", "k", "v", "igate", "fgate")))
        made = cell.parallel_stabilized_simple(q, k, v, i[..., None], f[..., None])
        return made.transpose(1, 2)

    inputs = inputs_of("mlstm", SQUARE)
    inputs["igate"] = 5.0 + 0.1 * inputs["igate"]
    meet("mlstm", theirs, inputs, backend, "float64")


@every_backend
def test_mlstm_of_the_kernels_package(backend: str) -> None:
    """`mlstm_recurrent_sequence__native_fw`, which scales q instead of k: the ratio is the same."""

    def theirs(x: Tensors) -> object:
        made = [x[name] for name in ("q", "k", "v", "igate", "fgate")]
        answer = kernels.mlstm_recurrent_sequence__native_fw(
            *heads_first(*made), dtype_state=torch.float64
        )
        return answer.transpose(1, 2)

    meet("mlstm", theirs, inputs_of("mlstm", Sizes(2, 40, 3, 8, 5)), backend, "float64")


@every_backend
@pytest.mark.parametrize(("kind", "vectors"), [("slstm", 4), ("lstm", 2)])
def test_slstm_and_its_lstm(backend: str, kind: str, vectors: int) -> None:
    """`slstm_forward`: time first; gate-major over all heads, i f z o; R (H, 4 V, V) transposed;
    no bias. Its min(1, .) around the gates changes no value."""

    def theirs(x: Tensors) -> object:
        B, T, H, _ = x["x"].shape
        V = x["recurrent"].shape[1]
        gates = x["x"].reshape(B, T, H, 4, V).permute(1, 0, 3, 2, 4).reshape(T, B, -1)
        state = torch.zeros(vectors, B, H * V, dtype=gates.dtype)
        bias = torch.zeros(4 * H * V, dtype=gates.dtype)
        pointwise = scalar.slstm_pointwise_function_registry[kind]
        matrix = x["recurrent"].transpose(1, 2)
        answers, _, _ = scalar.slstm_forward(gates, state, matrix, bias, pointwise)
        return answers[0, 1:].transpose(0, 1).reshape(B, T, H, V)

    meet(kind, theirs, inputs_of(kind, Sizes(2, 40, 3, 4, 5)), backend, "float64")
