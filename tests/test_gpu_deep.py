"""Deep memories on the GPU, emulated: scans, cached reads and soups against the reference."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gpu_cases import Held, agree

import mcore
from mcore.arrays import Array
from mcore.axes import make_recurrence, make_segmentation
from mcore.backends.cupy_gpu import deep_scan, deep_tiles, replay
from mcore.backends.cupy_gpu.backend import CupyBackend
from mcore.backends.cupy_gpu.emulation.array import traffic
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.backends.cupy_gpu.host import moved
from mcore.cutting import cut
from mcore.errors import BackendError
from mcore.segments import Segments, fresh
from mcore.testing.agreement import answer
from mcore.testing.gradcheck import check_inputs
from mcore.testing.samples import sample_inputs
from mcore.testing.strategies import Example, Sizes

LIMITS = {"float64": 1e-9, "float32": 1e-5}
"""Of differences, relative to the largest entry."""

RULES: dict[str, Any] = {
    "dla": "dla",
    "titans": "titans",
    "yaad": "yaad",
    "moneta": "moneta",
    "memora": "memora",
    "dla by chunks": {"kind": "dla", "chunk": 16},
    "titans by chunks": {"kind": "titans", "chunk": 3},
    "yaad by chunks": {"kind": "yaad", "chunk": 2},
}
READOUTS: dict[str, Any] = {
    "none": "none",
    "grm": "grm",
    "soup": "soup",
    "ssc": {"kind": "ssc", "top_k": 1},
}
RAGGED = {"kind": "given", "lengths": [[5, 1, 3], [9]]}


class Exact(Held):
    """Holds the GPU to what rounding alone may do."""

    def compare(self, name: str, got: Any, want: Any) -> None:
        self.compared.add(name)
        agree(name, got, want, LIMITS[self.dtype])


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One size of tiles, so that sources are compiled once and short rows fill many tiles."""
    monkeypatch.setattr(deep_tiles, "SIZES", (16,))
    yield


def constant(length: int) -> Any:
    return {"kind": "constant", "length": length}


def held(rule: Any, readout: Any, cuts: tuple[Any, str], sizes: Sizes, dtype: str) -> set[str]:
    """Forward and backward of a composition's memory; which operations were compared."""
    composition: Any = {
        "recurrence": rule,
        "readout": readout,
        "segmentation": cuts[0],
        "start": cuts[1],
    }
    example = Example(composition, sizes, 0)
    backend = Exact(dtype)
    answer(mcore.memory(**composition, backend=backend, dtype=dtype), example)
    return backend.compared


@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_each_rule_under_each_readout(rule: Any, readout: Any) -> None:
    """Segments that go on from one another; the last is short."""
    cuts = (constant(3), "checkpoint")
    compared = held(rule, readout, cuts, Sizes(1, 8, 1, 3, 3), "float64")
    expected = {"none": "scan", "grm": "read", "soup": "soup"}.get(str(readout), "read")
    assert {expected, f"{expected}_backward"} <= compared


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_in_single_precision(rule: Any) -> None:
    for readout in ("soup", "grm") if isinstance(rule, str) else ("soup",):
        held(rule, readout, (constant(4), "independent"), Sizes(1, 5, 1, 3, 3), "float32")


@pytest.mark.parametrize("start", ["independent", "checkpoint"])
@pytest.mark.parametrize("rule", ["titans", "titans by chunks", "memora"])
def test_rows_cut_at_different_tokens(rule: str, start: str) -> None:
    for readout in ("residual", "soup"):
        held(RULES[rule], readout, (RAGGED, start), Sizes(2, 9, 2, 3, 3), "float64")


@pytest.mark.parametrize("tokens", [1, 2])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_hardly_any_tokens(rule: Any, tokens: int) -> None:
    held(rule, "soup", (constant(1), "checkpoint"), Sizes(1, tokens, 1, 1, 1), "float64")


@pytest.mark.parametrize("rule", ["yaad", "dla by chunks", "titans by chunks", "moneta"])
def test_calls_that_go_on_within_a_chunk(rule: str) -> None:
    """States come in before, inside and at the end of segments and chunks; gradients go back."""
    composition: Any = {
        "recurrence": RULES[rule],
        "readout": "soup",
        "segmentation": constant(5),
        "start": "checkpoint",
        "cache": {"limit": 2, "evict": "merge"},
    }
    example = Example(composition, Sizes(2, 12, 1, 3, 3), 0)
    memory = mcore.memory(**composition, backend=Exact("float64"), dtype="float64")
    state, calls = None, []
    for piece in example.pieces([2, 5, 5]):
        _, saved = memory.forward(piece, state)
        state = saved.end
        calls.append(saved)
    d_end = None
    for saved, tokens in zip(calls[::-1], (5, 5, 2), strict=True):
        d_end = memory.backward(saved, example.dy[:, :tokens], d_end).get("state")


def test_documents_begin_anew() -> None:
    documents = np.array([[0, 0, 0, 1, 1, 1, 1, 2], [3] * 8])
    composition: Any = {
        "recurrence": RULES["titans by chunks"],
        "readout": "grm",
        "segmentation": constant(2),
        "start": "checkpoint",
    }
    example = Example(composition, Sizes(2, 8, 1, 3, 3), 0)
    memory = mcore.memory(**composition, backend=Exact("float64"), dtype="float64")
    _, saved = memory.forward(example.inputs, document=documents)
    memory.backward(saved, example.dy)


@pytest.mark.parametrize("rule", ["titans by chunks", "dla by chunks", "titans", "moneta"])
def test_many_blocks_and_slices(rule: str) -> None:
    """Chunks longer than a block, hidden units of three slices, reads by some tokens of a row."""
    axis = {**RULES[rule], "chunk": 20} if isinstance(RULES[rule], dict) else RULES[rule]
    segments, inputs = call(axis, (41, 3, 37), constant(23), "float64")
    backend, rng = Exact("float64"), np.random.default_rng(1)
    made = make_recurrence(axis)
    scan, saved = backend.scan(made, inputs, None, segments)
    backend.scan_backward(saved, *(rng.standard_normal(x.shape) for x in scan))
    gates = rng.standard_normal((1, 41, 1, 2))
    gates[:, :23, :, 0] = 0.0  # the first segment sees no checkpoint
    cached = scan.checkpoints[:, :1].copy()
    few = gates[..., :1].copy()
    few[:, ::4] = 0.0
    _, saved = backend.read(made, inputs["q"], cached, few, segments)
    backend.read_backward(saved, rng.standard_normal(inputs["q"].shape))
    _, saved = backend.soup(made, inputs, None, segments, (cached, gates))
    backend.soup_backward(saved, rng.standard_normal(inputs["q"].shape))


def call(
    axis: Any, sizes: tuple[int, int, int], segmentation: Any, dtype: str
) -> tuple[Segments, dict[str, Array]]:
    """The cuts of a row that goes on, and its inputs, for T, K and E."""
    tokens, keys, width = sizes
    composition: Any = {
        "recurrence": axis,
        "segmentation": segmentation,
        "readout": "none",
        "start": "checkpoint",
    }
    inputs = sample_inputs(composition, (1, tokens, 1, keys, keys), 0)
    rng = np.random.default_rng(0)
    inputs["w_in"] = rng.standard_normal((1, keys, width)) / keys**0.5
    inputs["w_out"] = rng.standard_normal((1, width, keys)) / width**0.5
    inputs = {name: x.astype(dtype) for name, x in inputs.items()}
    return cut(make_segmentation(segmentation), True, tokens, fresh(1)), inputs


def both_ways(backend: CupyBackend, axis: Any, dtype: str = "float64") -> list[Array]:
    """All that a scan and its backward give."""
    segments, inputs = call(axis, (11, 3, 5), constant(8), dtype)
    device = backend.device
    on_device = moved(inputs, device.upload, np.ndarray)
    scan, saved = backend.scan(make_recurrence(axis), on_device, None, segments)
    gradients, _ = backend.scan_backward(saved, *(backend.xp.ones_like(x) for x in scan))
    return [device.download(x) for x in (*scan, *gradients.values())]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_finite_differences(rule: Any) -> None:
    """Of reads and checkpoints, in every input."""
    backend, made = CupyBackend(device=EmulatedDevice()), make_recurrence(rule)
    segments, inputs = call(rule, (4, 2, 3), constant(3), "float64")
    upload, download = backend.device.upload, backend.device.download

    def forward(x: Any) -> Any:
        scan, saved = backend.scan(made, moved(x, upload, np.ndarray), None, segments)
        return tuple(download(y) for y in scan), saved

    def backward(saved: Any, *d_scan: Array) -> Any:
        gradients, _ = backend.scan_backward(saved, *(upload(d) for d in d_scan))
        return moved(gradients, download, backend.xp.ndarray)

    check_inputs(forward, backward, inputs)


@pytest.mark.parametrize("rule", ["titans", "moneta", "memora", "titans by chunks"])
def test_the_order_of_threads_does_not_matter(rule: str) -> None:
    runs = [both_ways(CupyBackend(device=EmulatedDevice(seed)), RULES[rule]) for seed in (0, 1, 7)]
    for other in runs[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(runs[0], other, strict=True))


@pytest.mark.parametrize("rule", ["titans", "titans by chunks", "memora"])
def test_little_room_costs_time_alone(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """States replayed over three levels by one block, weights in global memory: the same bits."""
    backend = CupyBackend(device=EmulatedDevice())
    plenty = both_ways(backend, RULES[rule])
    monkeypatch.setattr(replay, "ROOM", 1)
    monkeypatch.setattr(deep_scan, "SHARED", 1)
    little = both_ways(backend, RULES[rule])
    assert all(np.array_equal(a, b) for a, b in zip(plenty, little, strict=True))


@pytest.mark.parametrize("rule", ["titans", "titans by chunks", "memora"])
def test_a_second_call_waits_for_nothing(rule: str) -> None:
    backend = CupyBackend(device=EmulatedDevice())
    made, (segments, inputs) = (
        make_recurrence(RULES[rule]),
        call(RULES[rule], (6, 3, 4), constant(4), "float64"),
    )
    on_device = moved(inputs, backend.device.upload, np.ndarray)
    gates = backend.xp.ones((1, 6, 1, 2))
    dy = backend.xp.ones_like(on_device["q"])
    for _ in range(2):
        traffic.reset()
        scan, saved = backend.scan(made, on_device, None, segments)
        backend.scan_backward(saved, *scan)
        cached = scan.checkpoints[:, :1]
        _, saved = backend.read(made, on_device["q"], cached, gates[..., :1], segments)
        backend.read_backward(saved, dy)
        _, saved = backend.soup(made, on_device, None, segments, (cached, gates))
        backend.soup_backward(saved, dy)
    assert (traffic.up, traffic.down) == (0, 0)


@pytest.mark.parametrize("steps", [1, 2, 16, 17, 300])
def test_replays_have_room(steps: int) -> None:
    """Parts cover all steps, and three levels need less room than two where it matters."""
    two, three = replay.planned(steps, 2), replay.planned(steps, 3)
    for plan in (two, three):
        assert plan.top * plan.tops >= steps
        assert plan.middle * plan.middles >= plan.top or plan.tops == 1
        assert plan.middle * plan.middles * plan.tops >= steps
    assert three.places <= two.places or steps < 100


def test_keys_too_wide_for_shared_memory_are_refused() -> None:
    counts = deep_tiles.Counts(by_key=5, weights=8, hidden=4, pairs=3)
    assert deep_tiles.tiling(counts, 64, 256, 512, 4).shared <= deep_tiles.SHARED
    with pytest.raises(BackendError, match=r"k: 4096 wide.*at most \d+ in float32"):
        deep_tiles.tiling(counts, 4096, 4096, 512, 4)
