"""Mixtures of memories: running sums where they will do, products elsewhere, the same numbers."""

import numpy as np
import pytest

from mcore.arrays import Array
from mcore.axes import make_segmentation
from mcore.cutting import cut
from mcore.reading.mixing import growth, mixtures, mixtures_backward
from mcore.readout import MovingAverage, Residual
from mcore.segments import Progress, fresh


def residual_gates(cached: int) -> Array:
    """Of two rows, the second with fewer checkpoints in its state."""
    progress = fresh(2)
    if cached:
        progress = Progress(
            np.array([4 * cached, 4]), np.zeros(2, np.int64), np.array([cached, 1]), cached
        )
    segments = cut(make_segmentation({"kind": "constant", "length": 4}), False, 22, progress)
    return Residual().constant_gates(segments)[..., :-1]


def jumps() -> Array:
    """Two memories more at once: no running sum."""
    return np.array([[[1.0, 0, 0], [1, 1, 1]]])


def falls() -> Array:
    """A memory that counts no more, as at the start of a document."""
    return np.array([[[1.0, 1, 0], [0, 0, 1]]])


@pytest.mark.parametrize(
    ("gates", "grows"),
    [
        (residual_gates(0), True),
        (residual_gates(3), True),
        (residual_gates(0)[:, :1], True),
        (jumps(), False),
        (falls(), False),
    ],
)
def test_mixtures_are_products_of_gates_and_memories(gates: Array, grows: bool) -> None:
    rng = np.random.default_rng(0)
    memories = rng.standard_normal((gates.shape[0], gates.shape[2], 2, 3))
    d_mixtures = rng.standard_normal((*gates.shape[:2], 2, 3))
    assert (growth(gates) is not None) == grows
    np.testing.assert_allclose(
        mixtures(gates, memories), np.einsum("bsc,bchp->bshp", gates, memories), atol=1e-14
    )
    np.testing.assert_allclose(
        mixtures_backward(gates, d_mixtures),
        np.einsum("bsc,bshp->bchp", gates, d_mixtures),
        atol=1e-14,
    )


def test_a_mean_is_no_running_sum() -> None:
    segments = cut(make_segmentation({"kind": "constant", "length": 4}), False, 22, fresh(1))
    assert growth(MovingAverage().constant_gates(segments)[..., :-1]) is None
