"""A trained model read back, as it was or with a cache that it was trained without."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mcore

SPEC: dict[str, Any] = {
    "model": {"width": 12, "depth": 2, "heads": 2, "key": 4, "value": 3, "mlp": 1.0},
    "memory": {"recurrence": "gated_delta"},
    "data": {"task": "mqar", "vocab": 20, "length": 16, "pairs": 4},
    "backend": "reference",
    "dtype": "float64",
}
CUTS = "memory.segmentation={kind: constant, length: 4}"
TOKENS = np.random.default_rng(0).integers(0, 20, (2, 11))


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    mcore.compile(SPEC).save(path)
    return path


@pytest.mark.parametrize("readout", ["moving_average", "{kind: moving_average, weights: ema}"])
def test_a_cache_after_training(snapshot: Path, readout: str) -> None:
    """The logits are the plain model's within the first segment, and differ after it."""
    model = mcore.load(snapshot, [CUTS, f"memory.readout={readout}"])
    plain = mcore.load(snapshot)
    logits, before = model.forward(TOKENS)[0], plain.forward(TOKENS)[0]
    np.testing.assert_allclose(logits[:, :4], before[:, :4], rtol=1e-12)
    assert np.abs(logits[:, 4:] - before[:, 4:]).max() > 1e-6
    assert all(np.array_equal(model.params[name], plain.params[name]) for name in plain.params)


def test_it_streams_and_is_saved_with_its_cache(snapshot: Path) -> None:
    model = mcore.load(snapshot, [CUTS, "memory.readout=moving_average"])
    session = model.session()
    parts = [session.feed(part) for part in np.split(TOKENS, [3, 7], axis=1)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), model.forward(TOKENS)[0], rtol=1e-9)
    model.save(snapshot)
    assert mcore.load(snapshot).spec.memory.readout.kind == "moving_average"


def test_overrides_that_change_the_parameters_are_refused(snapshot: Path) -> None:
    with pytest.raises(mcore.SnapshotError, match=r"project\.weight .*keep all parameters would"):
        mcore.load(snapshot, [CUTS, "memory.readout=grm"])
    with pytest.raises(mcore.SpecError, match=r"memory\.readout: 'average' is not a readout"):
        mcore.load(snapshot, ["memory.readout=average"])
