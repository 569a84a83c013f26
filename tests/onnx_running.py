"""Exported graphs run by onnxruntime and by onnx's own evaluator, beside what they were made of."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import mcore
from mcore.arrays import Array
from mcore.export import Graphs, onnx_memory
from mcore.export.check import streamed, zero_states
from mcore.testing.agreement import relative_error
from mcore.testing.samples import sample_inputs

SIZES = {"B": 2, "H": 2, "K": 5, "V": 4}
LIMIT = 2e-6
"""A graph is float32: sums of some ten terms in another order cost a few of its ulp, 6e-8, relative
to the largest entry; a formula that differs is off by far more."""


def runtime(model: Any) -> Any:
    """An onnxruntime session on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


class Layer:
    """A memory of the reference backend in float64, its graphs, and inputs for both."""

    def __init__(self, composition: Mapping[str, Any], tokens: int, bound: int | None = None):
        rows, heads, keys, values = SIZES.values()
        self.inputs = sample_inputs(composition, (rows, tokens, heads, keys, values), 0)
        self.memory = mcore.memory(**composition, backend="reference", dtype="float64")
        sizes = {"H": heads, "K": keys, "V": values, "E": keys + 1}
        if self.memory.rule.square:
            sizes["V"] = keys
        self.graphs = onnx_memory(self.memory, sizes, bound)
        self.feeds = {name: x.astype(np.float32) for name, x in self.inputs.items()}

    @property
    def wanted(self) -> Array:
        """The memory's answers."""
        return self.memory.forward(self.inputs)[0]

    def whole(self) -> Array:
        """The sequence graph's."""
        y: Array = runtime(self.graphs.sequence).run(["y"], self.feeds)[0]
        return y

    def stream(self, evaluator: Any = None) -> Array:
        """The step graph's, token by token."""
        evaluator = evaluator or runtime(self.graphs.step)
        return streamed(evaluator, self.graphs.step, self.tokens(), self.parameters())

    def tokens(self) -> dict[str, Array]:
        """Inputs that have a T axis."""
        return {n: x for n, x in self.feeds.items() if "T" in self.memory.inputs[n].split()}

    def parameters(self) -> dict[str, Array]:
        """Inputs that have none."""
        return {n: x for n, x in self.feeds.items() if n not in self.tokens()}

    def check(self, limit: float = LIMIT) -> None:
        """Both graphs give the memory's answers."""
        wanted = self.wanted
        assert relative_error(self.whole(), wanted) < limit
        assert relative_error(self.stream(), wanted) < limit


__all__ = ["LIMIT", "SIZES", "Graphs", "Layer", "runtime", "zero_states"]
