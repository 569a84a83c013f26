"""Layers in one pass against the same layers composed of scan, route and read."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numba_cases import DTYPES, SERIAL, two_calls

import mcore
from mcore.backend import Fused
from mcore.backends.numba_cpu import NumbaBackend
from mcore.recurrence import Recurrence
from mcore.router import Router
from mcore.testing.agreement import relative_error
from mcore.testing.strategies import Composition, Example, Sizes

NORMALIZED = {"kind": "linear", "feature_map": "elu1", "normalize": True}
RULES: list[Any] = [
    "linear", NORMALIZED, "retention", "gated_linear", "mamba2", "gla", "swla", "delta",
    "gated_delta", "rwkv7", "mlstm",
]  # fmt: skip
DIVIDED = [NORMALIZED, "mlstm"]
READOUTS: dict[str, Any] = {
    "grm": "grm",
    "outside": {"kind": "grm", "online": "outside", "pool": "sum"},
    "detach": {"kind": "grm", "detach": True, "temperature": True},
    "ssc": {"kind": "ssc", "top_k": 3},
    "ssc of many": {"kind": "ssc", "top_k": 6, "online": "outside"},
}
LIMITS = {"float64": 1e-11, "float32": 5e-5}
"""The same sums in another order; float32 gradients of logits cancel to about a tenth."""


class Composed(NumbaBackend):
    """The fast operations, one after the other."""

    def fused(self, rule: Recurrence, router: Router) -> Fused | None:
        return None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", ["independent", "checkpoint"])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_fused_equals_composed(rule: Any, readout: str, start: str, dtype: str) -> None:
    composition = Composition(
        recurrence=rule,
        segmentation={"kind": "constant", "length": 70},
        readout=READOUTS[readout],
        start=start,
    )
    memory = mcore.memory(**composition, backend=SERIAL)
    divided_sparse = rule in DIVIDED and readout.startswith("ssc")
    router = memory.readout.routing
    assert router is not None
    assert (SERIAL.fused(memory.rule, router) is None) == divided_sparse
    example = Example(composition, Sizes(2, 200, 2, 16, 20), seed=3)
    got, want = (
        two_calls(mcore.memory(**composition, backend=b, dtype=dtype), example, 150)
        for b in (SERIAL, Composed(1))
    )
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        if a.size:
            assert relative_error(a, b) < LIMITS[dtype], f"result {i}"


def test_nothing_over_tokens_and_checkpoints_is_kept() -> None:
    """One such array would be larger than all inputs together."""
    memory = mcore.memory("linear", {"kind": "constant", "length": 4}, "grm", backend=SERIAL)
    tokens, width = 2048, 8
    rng = np.random.default_rng(0)
    x = {n: rng.standard_normal((1, tokens, 1, width), np.float32) for n in memory.inputs}
    y, saved = memory.forward(x)
    memory.backward(saved, y)
    tracemalloc.start()
    y, saved = memory.forward(x)
    memory.backward(saved, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * tokens * (tokens // 4)
