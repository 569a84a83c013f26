"""Causal softmax attention on the GPU, emulated: windows, keys before the queries, odd sizes."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from gpu_cases import Held
from gpu_hosted import LIMITS, Hosted, copies
from numba_cases import REFERENCE

from mcore.model.packed_attention import packed_attention, packed_attention_backward
from mcore.testing.agreement import assert_agree
from mcore.testing.gradcheck import check_pair

GPU = Hosted()


class Shape(NamedTuple):
    """Rows, queries, keys, heads, their widths, and the window."""

    rows: int
    tokens: int
    positions: int
    heads: int
    keys: int
    values: int
    window: int | None = None

    def arrays(self, dtype: str) -> Any:
        """q, k, v and a gradient of y; logits spread over some 10."""
        rng, (B, T, M, H, K, V, _) = np.random.default_rng(0), self
        shapes = (B, T, H, K), (B, M, H, K), (B, M, H, V), (B, T, H, V)
        q, *rest = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
        return (3 * q, *rest)


ODD = {
    "one token": Shape(1, 1, 1, 1, 3, 2),
    "rows and heads": Shape(2, 9, 9, 2, 16, 16, 3),
    "one query": Shape(1, 1, 80, 2, 5, 3),
    "window across blocks": Shape(1, 67, 67, 1, 7, 16, 20),
    "window of one": Shape(1, 5, 9, 1, 4, 4, 1),
    "old keys unseen": Shape(1, 2, 150, 1, 8, 5, 70),
    "keys before queries": Shape(1, 70, 131, 1, 5, 3),
}
DOUBLE = ODD | {
    "values wider than keys": Shape(1, 66, 70, 1, 16, 33),
    "narrow blocks of columns": Shape(1, 70, 70, 1, 70, 33, 40),
    "wider than a block's registers": Shape(2, 300, 310, 1, 130, 5, 290),
}
SINGLE = {name: ODD[name] for name in ("one token", "rows and heads", "window across blocks")} | {
    "wider than a block's registers": DOUBLE["wider than a block's registers"],
    "narrow blocks of columns": Shape(1, 7, 20, 1, 70, 20),
}


def run(backend: Any, arrays: Any, window: int | None) -> dict[str, Any]:
    """y and the gradients."""
    q, k, v, dy = arrays
    y, saved = backend.attention(q, k, v, window)
    dq, dk, dv = backend.attention_backward(saved, dy)
    return {"y": y, "dq": dq, "dk": dk, "dv": dv}


@pytest.mark.parametrize(("dtype", "shape"), [
    *[pytest.param("float64", shape, id=f"float64 {name}") for name, shape in DOUBLE.items()],
    *[pytest.param("float32", shape, id=f"float32 {name}") for name, shape in SINGLE.items()],
])  # fmt: skip
def test_attention_is_the_reference(dtype: str, shape: Shape) -> None:
    arrays = shape.arrays(dtype)
    got = run(GPU, arrays, shape.window)
    want = run(REFERENCE, [x.astype("float64") for x in arrays], shape.window)
    for name in want:
        assert got[name].dtype == dtype
        assert_agree(got[name], want[name], LIMITS[dtype], name)


def test_large_logits_do_not_overflow() -> None:
    q, k, v, dy = Shape(1, 9, 9, 1, 4, 4, 4).arrays("float64")
    arrays = (1e4 * q, k, v, dy)
    got, want = run(GPU, arrays, 4), run(REFERENCE, arrays, 4)
    for name in want:
        assert_agree(got[name], want[name], 1e-9, name)


@pytest.mark.parametrize("window", [None, 2])
def test_backward_is_the_derivative(window: int | None) -> None:
    q, k, v, _ = Shape(1, 4, 6, 2, 3, 2).arrays("float64")

    def forward(q: Any, k: Any, v: Any) -> Any:
        return GPU.attention(q / 3, k, v, window)

    def backward(saved: Any, dy: Any) -> Any:
        dq, dk, dv = GPU.attention_backward(saved, dy)
        return dq / 3, dk, dv

    check_pair(forward, backward, {"q": q, "k": k, "v": v})


def test_packed_documents_hold() -> None:
    q, k, v, dy = Shape(2, 9, 9, 1, 4, 3).arrays("float64")
    document = np.array([[0, 0, 0, 1, 1, 2, 2, 2, 2], [5, 5, 5, 5, 5, 5, -1, -1, -1]])
    backend = Held("float64")
    _, saved = packed_attention(backend, (q, k, v), 3, document)
    packed_attention_backward(saved, dy)
    assert backend.compared == {"attention", "attention_backward"}


def test_bits_do_not_depend_on_the_order_of_threads() -> None:
    arrays = Shape(1, 66, 66, 1, 4, 3, 9).arrays("float64")
    first = run(Hosted(0), arrays, 9)
    for seed in (1, 2, 3):
        for name, x in run(Hosted(seed), arrays, 9).items():
            np.testing.assert_array_equal(x, first[name], err_msg=name)


@pytest.mark.parametrize("width", [4, 130])
def test_a_second_call_copies_nothing(width: int) -> None:
    arrays = GPU.up(Shape(1, 5, 7, 1, width, 3).arrays("float64"))
    assert copies(GPU.gpu, lambda: run(GPU.gpu, arrays, 4)) == (0, 0)
