"""`products: tf32`: kernels round the inputs of float32 products, and only then."""

import numpy as np
import pytest

import mcore
from mcore.backend import get_backend
from mcore.errors import SpecError
from mcore.spec import load_spec


def error(products: str | None) -> float:
    """How far a memory's answers are from those in float64, relative to the largest."""
    cut = {"kind": "constant", "length": 8}
    rng = np.random.default_rng(0)
    inputs = {name: rng.normal(size=(1, 20, 1, 16)) for name in ("q", "k", "v", "u")}
    want, _ = mcore.memory("linear", cut, "grm", backend="reference", dtype="float64").forward(
        inputs
    )
    gpu = get_backend("cupy", products=products)
    got, _ = mcore.memory("linear", cut, "grm", backend=gpu).forward(inputs)
    return float(np.abs(got.get() - want).max() / np.abs(want).max())  # type: ignore[attr-defined]


@pytest.mark.usefixtures("emulated")
def test_inputs_are_rounded_where_asked() -> None:
    assert error(None) == error("float32") < 2e-6
    assert 2e-5 < error("tf32") < 5e-3


def test_the_host_has_no_such_choice() -> None:
    with pytest.raises(SpecError, match=r"backend.products: numba runs on the host"):
        load_spec({"backend": {"kind": "numba", "products": "tf32"}})


@pytest.mark.usefixtures("emulated")
def test_a_spec_may_ask_for_it() -> None:
    spec = load_spec({"backend": {"kind": "cupy", "products": "tf32"}, "model": {"depth": 1}})
    backend = mcore.compile(spec).backend
    assert backend.device.products == "tf32"  # type: ignore[attr-defined]
