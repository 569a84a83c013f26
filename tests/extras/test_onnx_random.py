"""Memories drawn at random, as ONNX graphs in onnxruntime beside the reference."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="pip install 'mcore[onnx]'")
pytest.importorskip("onnxruntime", reason="pip install onnxruntime")

from hypothesis import assume, given
from hypothesis import strategies as st
from onnx_running import runtime
from tolerances import tolerance

import mcore
from mcore.axes import make_cache, make_readout, make_recurrence, make_segmentation
from mcore.conflicts import conflicts
from mcore.errors import SpecError
from mcore.export import onnx_memory
from mcore.export.check import streamed
from mcore.testing import strategies
from mcore.testing.agreement import relative_error

CACHES = st.fixed_dictionaries(
    {
        "limit": st.one_of(st.none(), st.integers(1, 4)),
        "evict": st.sampled_from(["oldest", "merge", "least_used"]),
    }
)
BOUND = 12
"""More segments than a drawn sequence has."""


@given(strategies.examples(), CACHES)
def test_random_compositions(example: strategies.Example, cache: dict[str, Any]) -> None:
    composition: dict[str, Any] = {**example.composition, "cache": cache}
    made = make_recurrence(composition["recurrence"]), make_readout(composition["readout"])
    cuts = make_segmentation(composition["segmentation"])
    assume(not conflicts(made[0], cuts, made[1], make_cache(cache)))
    memory = mcore.memory(**composition, backend="reference", dtype="float64")
    _, _, heads, keys, values = example.sizes
    sizes = {"H": heads, "K": keys, "V": values, "E": keys + 1}
    if not cuts.streams:
        with pytest.raises(SpecError, match="total length"):
            onnx_memory(memory, sizes, BOUND)
        return
    graphs, (wanted, _) = onnx_memory(memory, sizes, BOUND), memory.forward(example.inputs)
    feeds = {name: x.astype(np.float32) for name, x in example.inputs.items()}
    parameters = {n: feeds.pop(n) for n, a in memory.inputs.items() if "T" not in a.split()}
    (whole,) = runtime(graphs.sequence).run(["y"], feeds | parameters)
    step = streamed(runtime(graphs.step), graphs.step, feeds, parameters)
    limit = tolerance("float32", "forward")
    assert relative_error(whole, wanted) < limit
    assert relative_error(step, wanted) < limit
