"""Cuts and random arrays on which scans of the GPU are compared with the reference."""

from typing import Any, NamedTuple

import numpy as np
from gpu_cases import Held

import mcore
from mcore.axes import make_recurrence, make_segmentation
from mcore.backends.cupy_gpu.backend import CupyBackend
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.backends.cupy_gpu.host import moved
from mcore.backends.numpy_ref.backend import ReferenceBackend
from mcore.cutting import cut
from mcore.recurrence import Recurrence
from mcore.segments import Progress, Segments, fresh
from mcore.testing.samples import sample_inputs
from mcore.testing.strategies import Example, Sizes

REFERENCE = ReferenceBackend()
LIMITS = {"float64": 1e-9, "float32": 1e-5}
"""Of differences, relative to the largest entry; the reference is computed in float64."""


class Case(NamedTuple):
    """Sizes B, T, H, K, V and cuts; `continued` rows come from earlier calls."""

    sizes: tuple[int, int, int, int, int]
    segmentation: Any
    carries: bool = False
    continued: bool = False


EVERY = {n: {"kind": "constant", "length": n} for n in (8, 9, 20, 140)}
RAGGED, TWO = ({"kind": "given", "lengths": [row, [21]]} for row in ([10, 1, 8, 2], [4, 17]))
CASES = {
    "one token": Case((1, 1, 1, 3, 2), "none"),
    "two tokens of an open segment": Case((2, 2, 2, 3, 2), EVERY[8], True, True),
    "ragged": Case((2, 21, 2, 3, 2), RAGGED, True),
    "ragged, each afresh": Case((2, 21, 1, 3, 2), TWO),
    "more than two chunks": Case((2, 161, 1, 3, 2), EVERY[140], True),
    "continued": Case((2, 41, 2, 3, 2), EVERY[20], True, True),
    "continued, then afresh": Case((2, 23, 1, 3, 2), EVERY[9], False, True),
}


class Problem(NamedTuple):
    """Arguments of a scan and of its backward."""

    rule: Recurrence
    inputs: dict[str, Any]
    carry: Any
    segments: Segments
    d: tuple[Any, Any]


def cuts(case: Case) -> Segments:
    """The segments; a continued case comes from unequal rows with open segments."""
    rows, tokens = case.sizes[:2]
    progress = fresh(rows)
    if case.continued:
        progress = Progress(np.array([25, 16]), np.array([5, 0]), np.array([3, 2]), 3)
    return cut(make_segmentation(case.segmentation), case.carries, tokens, progress)


def problem(kind: str, case: Case, dtype: str, **changes: float) -> Problem:
    """Random arrays of a case; `changes` are inputs that are one number everywhere."""
    rule, segments = make_recurrence(kind), cuts(case)
    axes = {"recurrence": kind, "segmentation": case.segmentation, "readout": "none"}
    inputs = sample_inputs(axes, case.sizes, 0)
    inputs |= {name: np.full_like(inputs[name], value) for name, value in changes.items()}
    rng, dims = np.random.default_rng(1), rule.dims(inputs)
    shape = (dims.B, segments.count, dims.H, int(np.prod(rule.state_shape(dims))))
    carry = rng.standard_normal((dims.B, dims.H, shape[-1])) if case.continued else None
    d_checkpoints = rng.standard_normal(shape)
    empty = segments.bounds[:, 1:] == segments.bounds[:, :-1]
    d_checkpoints[empty] = 0
    d = rng.standard_normal((*dims[:3], dims.V)), d_checkpoints
    prepared, _ = rule.prepare(inputs)
    return _as(Problem(rule, prepared, carry, segments, d), dtype)


def gpu(seed: int = 1) -> CupyBackend:
    """The backend on an emulated device whose threads take turns as drawn from a seed."""
    return CupyBackend(device=EmulatedDevice(seed))


def on_gpu(given: Problem, backend: CupyBackend) -> dict[str, Any]:
    """Everything that a scan and its backward return, by name."""
    up, down = backend.device.upload, backend.device.download
    rule, inputs, carry, segments, d = moved(given, up, np.ndarray)
    found = _run(backend, Problem(rule, inputs, carry, segments, d))
    on_host: dict[str, Any] = moved(found, down, backend.xp.ndarray)
    return on_host


def by_reference(given: Problem) -> dict[str, Any]:
    """The same in float64."""
    return _run(REFERENCE, _as(given, "float64"))


def assert_near(
    got: dict[str, Any], want: dict[str, Any], dtype: str, smallest: float = 1e-30
) -> None:
    """Raise AssertionError unless the numbers and types are right, array for array.

    Arrays whose entries are all smaller than `smallest` are held to that instead of to themselves.
    """
    assert got.keys() == want.keys()
    for name, theirs in want.items():
        mine = got[name]
        assert mine.shape == theirs.shape and mine.dtype == dtype, f"{name}: {mine.dtype}"
        error = np.abs(mine - theirs).max() / max(np.abs(theirs).max(), smallest)
        assert error <= LIMITS[dtype], f"{name}: off by {error:.1e}"


def hold_packed(kind: str, start: str, readout: Any) -> set[str]:
    """Documents in rows, in two calls of which the second goes on; which operations ran."""
    example = Example(
        {
            "recurrence": kind,
            "segmentation": {"kind": "constant", "length": 4},
            "readout": readout,
            "start": start,
        },
        Sizes(2, 25, 2, 3, 2),
        0,
    )
    backend = Held("float64")
    memory = mcore.memory(**example.composition, backend=backend, dtype="float64")
    ids = np.array([[0] * 3 + [1] * 9 + [2] * 13, [5] * 17 + [6] * 6 + [-1] * 2])
    first, second = example.pieces([14, 11])
    _, state = memory.step(first, document=ids[:, :14])
    _, saved = memory.forward(second, state, document=ids[:, 14:])
    memory.backward(saved, example.dy[:, 14:])
    return backend.compared


def _run(backend: Any, given: Problem) -> dict[str, Any]:
    rule, inputs, carry, segments, d = given
    scan, saved = backend.scan(rule, inputs, carry, segments)
    d_inputs, d_carry = backend.scan_backward(saved, *d)
    found = {**scan._asdict(), **{f"d_{name}": x for name, x in d_inputs.items()}}
    return found | ({} if d_carry is None else {"d_carry": d_carry})


def _as(given: Problem, dtype: str) -> Problem:
    found: Problem = moved(given, lambda x: x.astype(np.float32).astype(dtype), np.ndarray)
    return found
