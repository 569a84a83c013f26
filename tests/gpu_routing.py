"""Cuts and random arrays on which the GPU's routing and reads are compared with the reference."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.axes import make_segmentation
from mcore.backends.cupy_gpu.backend import CupyBackend
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.backends.cupy_gpu.host import moved
from mcore.backends.numpy_ref.backend import ReferenceBackend
from mcore.cutting import cut
from mcore.segments import Progress, Segments, fresh

REFERENCE = ReferenceBackend()
DTYPES = ("float64", "float32")
LIMITS = {"float64": 1e-9, "float32": 1e-5}
"""Of differences, relative to the largest entry; the reference is computed in float64."""

WIDTHS = {"float64": (3, 2), "float32": (17, 9)}
"""Keys and values: narrow, and wider than what a warp's product takes at once."""

HEADS = 2


class Case(NamedTuple):
    """Sizes and cuts; `cached` checkpoints came in with a state."""

    rows: int
    tokens: int
    segmentation: Any
    cached: int = 0


CASES = {
    "one token": Case(1, 1, "none"),
    "two tokens, the first of an open segment": Case(2, 2, {"kind": "constant", "length": 8}, 3),
    "ragged": Case(2, 21, {"kind": "given", "lengths": [[10, 1, 8, 2], [21]]}),
    "many checkpoints": Case(1, 41, {"kind": "constant", "length": 2}),
    "more than a block of tokens": Case(2, 133, {"kind": "constant", "length": 30}, 2),
}


def cuts(case: Case) -> Segments:
    """The segments; a continued case comes from unequal rows with open segments."""
    progress = fresh(case.rows)
    if case.cached:
        position, count = np.array([25, 8 * case.cached]), np.array([case.cached, 1])
        progress = Progress(position, position % 8, count, case.cached)
    return cut(make_segmentation(case.segmentation), False, case.tokens, progress)


def normal(rng: np.random.Generator, dtype: str, *shape: int) -> Any:
    """Standard normal numbers that fit in float32."""
    return rng.standard_normal(shape).astype(np.float32).astype(dtype)


def gpu(seed: int = 1) -> CupyBackend:
    """The backend on an emulated device whose threads take turns as drawn from a seed."""
    return CupyBackend(device=EmulatedDevice(seed))


def up(backend: CupyBackend, x: Any) -> Any:
    """Arrays, also inside tuples and dicts, on the backend's device."""
    return moved(x, backend.device.upload, np.ndarray)


def down(backend: CupyBackend, x: Any) -> Any:
    """And back."""
    return moved(x, backend.device.download, backend.xp.ndarray)


def same_bits(found: list[Any]) -> bool:
    """Whether all results are alike to the last bit."""
    first, *others = (flat(x) for x in found)
    return all(np.array_equal(a, b) for x in others for a, b in zip(first, x, strict=True))


def double(x: Any) -> Any:
    """Arrays in float64."""
    return moved(x, lambda array: array.astype(np.float64), np.ndarray)


def flat(x: Any) -> list[Array]:
    """All arrays inside tuples and dicts, in order; None is left out."""
    if isinstance(x, dict):
        return [array for name in sorted(x) for array in flat(x[name])]
    if isinstance(x, tuple):
        return [array for part in x for array in flat(part)]
    return [] if x is None else [x]


def assert_near(got: Any, want: Any, dtype: str) -> None:
    """Raise AssertionError unless the numbers and types are right, array for array."""
    mine, theirs = flat(got), flat(want)
    assert len(mine) == len(theirs)
    for index, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        assert a.dtype == dtype and a.shape == b.shape, f"{index}: {a.dtype} {a.shape} {b.shape}"
        error = np.abs(a - b).max(initial=0) / max(np.abs(b).max(initial=0), 1e-2)
        assert error <= LIMITS[dtype], f"array {index}: off by {error:.1e}"
