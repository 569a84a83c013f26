"""Models of real-valued series as ONNX graphs: forecasts, classes and values, with missing data."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="pip install 'mcore[onnx]'")
pytest.importorskip("onnxruntime", reason="pip install onnxruntime")

from onnx_running import runtime

import mcore
from mcore.errors import SpecError
from mcore.export import onnx_model
from mcore.export.check import check_graphs, streamed
from mcore.model import Model
from mcore.testing.agreement import relative_error

HEADS: dict[str, dict[str, Any]] = {
    "forecast": {"target": ["c", "a"], "horizon": 2},
    "classify": {"head": "classify", "classes": ["x", "y", "z"]},
    "last": {"head": "classify", "classes": ["x", "y"], "pool": "last"},
    "regress": {"head": "regress", "label": "price"},
}
LIMIT = 1e-5
"""As of other models: two blocks in float32, whose sums come in other orders."""


def model_of(head: str) -> Model:
    """Two narrow blocks with statistics that are not 0 and 1: large means, small deviations."""
    spec = {
        "model": {"width": 12, "depth": 2, "heads": 2, "key": 4, "value": 3, "mlp": 1.0},
        "memory": {
            "recurrence": "gated_delta",
            "segmentation": {"kind": "constant", "length": 4},
            "readout": "grm",
        },
        "data": {"task": "series", "columns": ["a", "b", "c"], "length": 11, **HEADS[head]},
        "backend": "reference",
    }
    model, rng = mcore.compile(spec), np.random.default_rng(1)
    fixed = {name: rng.uniform(0.5, 2, x.shape) for name, x in model.fixed.items()}
    model.standardise(fixed | {"input.mean": np.array([1e5, -3.0, 20.0])})
    return model


def test_other_ends_are_refused() -> None:
    model = model_of("last")
    model.layout = model.layout._replace(ends=object())  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="data: object has no ONNX form"):
        onnx_model(model, max_segments=8)


@pytest.mark.parametrize("head", HEADS)
def test_series(head: str) -> None:
    model = model_of(head)
    graphs = onnx_model(model, max_segments=8)
    rng = np.random.default_rng(0)
    x = model.fixed["input.mean"] + model.fixed["input.std"] * rng.standard_normal((2, 17, 3))
    x[0, 3, 1] = x[1, 0, 2] = np.nan
    wanted, _ = model.forward(x)
    (whole,) = runtime(graphs.sequence).run(["outputs"], {"series": x})
    step = streamed(runtime(graphs.step), graphs.step, {"series": x}, {})
    assert relative_error(whole, wanted) < LIMIT
    assert relative_error(step, wanted) < LIMIT
    assert check_graphs(graphs, model, 12).apart < LIMIT
