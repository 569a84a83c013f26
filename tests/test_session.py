"""A stream that is saved and restored at any token goes on as if nothing had happened."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import BACKENDS

import mcore

TOKENS = 14
DRIFT = {"kind": "adaptive", "min": 2, "max": 5, "threshold": 0.6}
CONSTANT = {"kind": "constant", "length": 3}
MEMORIES: dict[str, dict[str, Any]] = {
    "plain": {"recurrence": "gated_delta", "segmentation": CONSTANT, "readout": "grm"},
    "by content": {"recurrence": "linear", "segmentation": DRIFT, "readout": "soup"},
    "whole numbers": {
        "recurrence": "mlstm",
        "segmentation": CONSTANT,
        "readout": "grm",
        "cache": {"limit": 2, "evict": "merge", "dtype": "int8"},
    },
    "upper halves": {
        "recurrence": {"kind": "titans", "chunk": 2},
        "segmentation": CONSTANT,
        "readout": {"kind": "ssc", "top_k": 1},
        "start": "checkpoint",
        "cache": {"limit": 3, "dtype": "bfloat16"},
    },
    "what is used": {
        "recurrence": "lstm",
        "segmentation": DRIFT,
        "readout": "grm",
        "cache": {"limit": 2, "evict": "least_used", "dtype": "float16"},
    },
    "answers": {"recurrence": "swla", "segmentation": CONSTANT, "readout": "sigmoid"},
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES.keys())
def test_saved_and_restored_at_any_token(
    memory: dict[str, Any], backend: str, tmp_path: Path
) -> None:
    model = mcore.compile(
        {
            "model": {"width": 16, "heads": 2, "depth": 2},
            "memory": memory,
            "data": {"task": "mqar", "vocab": 32, "length": 16, "pairs": 2},
            "backend": backend,
            "dtype": "float64",
        }
    )
    tokens = np.random.default_rng(0).integers(0, 32, TOKENS)
    whole = model.session().feed(tokens)
    for cut in range(1, TOKENS):
        session = model.session()
        session.feed(tokens[:cut])
        session.save(tmp_path / "stream.safetensors")
        restored = model.session()
        restored.restore(tmp_path / "stream.safetensors")
        assert {n: a.dtype for n, a in restored.state.items()} == {
            n: a.dtype for n, a in session.state.items()
        }
        after, same = restored.feed(tokens[cut:]), session.feed(tokens[cut:])
        np.testing.assert_array_equal(after, same)
        np.testing.assert_allclose(after, whole[cut:], rtol=1e-9, atol=1e-9)
