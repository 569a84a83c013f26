"""A stream decoded on the GPU, emulated: token by token the answers of the reference."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gpu_decoding import FED, LATER, TURNS, Fed, composition_of, hard_numbers, hold

import mcore
from mcore.backend import RowDecoder
from mcore.backends.cupy_gpu.backend import CupyBackend
from mcore.backends.cupy_gpu.decode_graph import TokenGraph
from mcore.backends.cupy_gpu.emulation.array import traffic
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.cache.compact import compact, expand

SSC = {"kind": "ssc", "top_k": 2}
EMA = {"kind": "moving_average", "weights": "ema", "rate": 0.3}
READOUTS: list[Any] = [
    "none",
    "grm",
    {"kind": "grm", "pool": "sum", "online": "outside", "temperature": True},
    SSC,
    {"kind": "soup", "u": "shared", "scale": 0.5},
    "residual",
    "moving_average",
    EMA,
]
ELU = {"kind": "linear", "feature_map": "elu1"}
NORMALIZED = {**ELU, "normalize": True}
RULES: list[Any] = [
    *("linear", "retention", "gated_linear", "mamba2", "gla", "delta", "gated_delta"),
    *("rwkv7", "swla", "mlstm", ELU, NORMALIZED),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("start", ["independent", "checkpoint"])
def test_every_rule(rule: Any, start: str) -> None:
    hold(composition_of(rule, SSC, start=start))


@pytest.mark.parametrize("readout", READOUTS, ids=str)
def test_every_readout(readout: Any) -> None:
    hold(composition_of("gated_delta", readout))


@pytest.mark.parametrize("rule", [NORMALIZED, "mlstm"], ids=str)
@pytest.mark.parametrize("readout", ["none", "grm", "residual"], ids=str)
def test_divided_answers(rule: Any, readout: Any) -> None:
    hold(composition_of(rule, readout, start="checkpoint"))


@pytest.mark.parametrize("rule", ["rwkv7", "swla"])
def test_mixed_memories(rule: str) -> None:
    hold(composition_of(rule, "soup"))


@pytest.mark.parametrize("rule", ["gated_delta", "swla", NORMALIZED, "mlstm"], ids=str)
def test_gates_made_of_answers(rule: Any) -> None:
    hold(composition_of(rule, "sigmoid"))


@pytest.mark.parametrize("rule", ["lstm", "gru", "slstm"])
def test_vector_memories(rule: str) -> None:
    asked: list[Any] = ["grm", SSC, "residual", "sigmoid"]
    for start, readout in zip(("independent", "checkpoint") * 2, asked, strict=True):
        hold(composition_of(rule, readout, start=start, cache={"limit": 2}))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_a_cache_in_few_bytes(dtype: str) -> None:
    for rule in ("gated_delta", "mlstm"):
        hold(composition_of(rule, "grm", start="checkpoint", cache={"limit": 2, "dtype": dtype}))


@pytest.mark.parametrize("readout", ["grm", SSC, "residual"], ids=str)
def test_a_bounded_cache(readout: Any) -> None:
    hold(composition_of("gated_linear", readout, cache={"limit": 2}))


def test_float32_and_the_order_of_threads() -> None:
    composition = composition_of("gated_delta", "grm")
    streams = [hold(composition, "float32", seed) for seed in (1, 2)]
    first, second = (stream.device.download(stream.state.online) for stream in streams)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("rule", ["rwkv7", "mlstm"])
def test_wide_memories(rule: str) -> None:
    """Keys and values beyond what the threads of a block do at once."""
    hold(composition_of(rule, "grm", start="checkpoint"), sizes=(3, 15, 1, 70, 34))


@pytest.mark.parametrize(
    ("rule", "readout", "blocks"),
    [("linear", x, 1) for x in ("grm", SSC, EMA)]
    + [("linear", "grm", 512), ("mlstm", "grm", 1), ("mlstm", "sigmoid", 1)],
)
def test_many_checkpoints(
    rule: str, readout: Any, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a block weighs at once, where one reads them all; ties go to the older."""
    monkeypatch.setattr("mcore.backends.cupy_gpu.decode_launch.BLOCKS", blocks)
    cut = {"kind": "constant", "length": 1}
    fed = Fed(composition_of(rule, readout, segmentation=cut), sizes=(1, 300, 1, 3, 5))
    for name in ("k", "u"):
        if name in fed.inputs:
            fed.inputs[name][:] = np.rint(fed.inputs[name])  # equal logits
    fed.want, _ = fed.memory.forward(fed.inputs)
    _, state = fed.memory.step(fed.until(298))
    fed.stream, fed.position[:] = fed.stream_from(state), 298
    fed.feed([0], [0])


@pytest.mark.parametrize(
    ("dtype", "real"),
    [("float16", "float64"), ("float16", "float32"), ("bfloat16", "float64"), ("int8", "float64")],
)
def test_codes_are_those_of_the_host(dtype: Any, real: str) -> None:
    """Bit by bit, at every exponent, between two codes and beyond the largest; and read back."""
    composition = composition_of("linear", "residual", cache={"dtype": dtype})
    fed = Fed(composition, real, sizes=(3, 15, 2, 30, 16))
    online = hard_numbers(fed.end.online.shape, dtype).astype(real)
    begun = np.ones(3, np.int64)
    state = replace(fed.memory.empty(fed.dims), online=online, length=begun, position=begun)
    fed.stream = fed.stream_from(state)
    nothing = {n: fed.device.upload(0 * x[:, :1]) for n, x in fed.inputs.items()}
    fed.stream.feed(nothing, np.ones(3, bool))
    stored, got = compact(online[:, None], dtype, 16), fed.stream.state
    assert fed.device.download(got.checkpoints).tobytes() == stored.codes.tobytes()
    assert fed.device.download(got.scales).tobytes() == stored.scales.tobytes()
    wide = expand(stored, real).reshape(3, 1, 2, 30, 16)
    for row in (0, 17):
        asked = np.zeros((3, 1, 2, 30), real)
        asked[..., row] = 1
        y = fed.device.download(fed.stream.feed({**nothing, "q": fed.device.upload(asked)}, None))
        assert np.array_equal(y[:2], wide[:2, :, :, row])


@pytest.mark.parametrize("seed", range(3))
def test_rows_come_and_go(seed: int) -> None:
    """A row is taken out, its place is another's meanwhile, and it goes on in a new one."""
    fed = Fed(composition_of("gated_delta", "grm", cache={"limit": 3}), seed=seed)
    assert isinstance(fed.stream, RowDecoder)
    fed.feed(*TURNS)
    kept, empty = [fed.stream.take(row) for row in range(3)], fed.memory.empty(fed.dims)
    fed.stream = fed.stream_from(empty)
    fed.feed_elsewhere(2)
    for row in (2, 0, 1):
        fed.stream.put(row, kept[row])
    fed.feed(*LATER)
    fed.ended()


def test_room_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the room that there is at first, with nothing lost; also for a row that comes."""
    monkeypatch.setattr("mcore.backends.cupy_gpu.decode.SLOTS", 1)
    fed = Fed(composition_of("linear", "grm"))
    fed.feed(*TURNS)
    assert fed.stream.memory.slots == 4
    kept = [fed.stream.take(row) for row in range(3)]
    fed.stream = fed.stream_from(fed.memory.empty(fed.dims))
    for row in range(3):
        fed.stream.put(row, kept[row])
    assert fed.stream.memory.slots == 4
    fed.feed(*LATER)
    fed.ended()


def test_a_token_waits_for_nothing() -> None:
    fed = Fed(composition_of("gated_delta", "grm"))
    fed.feed([0, 1, 2], [0, 2], [0, 2])
    token, closes = fed.token([0, 2]), np.zeros(2, bool)
    traffic.reset()
    fed.stream.feed_rows(np.array([0, 2]), token, closes)
    assert (traffic.down, traffic.up) == (0, 0)


@pytest.mark.parametrize("rule", ["retention", "lstm"])
def test_a_graph_of_a_token(rule: str) -> None:
    """Captured once and replayed, past borders and a cache that grows, it answers like `feed`."""
    fed = Fed(composition_of(rule, {"kind": "grm", "temperature": True}))
    graph, every = TokenGraph(fed.stream), [0, 1, 2]
    for _ in range(FED):
        for name, x in fed.token(every).items():
            target: Any = graph.token[name]
            target[...] = x
        fed.answered(every, graph.replay(fed.closes(every)))
    fed.ended()


def test_a_stream_looks_at_arrays_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its first token, those of a device cost no more than a look at their shapes."""
    composition = composition_of("gated_linear", "grm")
    fed, device = Fed(composition), EmulatedDevice()
    memory = mcore.memory(**composition, backend=CupyBackend(device=device), dtype="float64")
    stream = memory.stream()
    for t in range(FED):
        fed.answered([0, 1, 2], stream.feed(fed.token([0, 1, 2])))
        if t == 0:
            assert stream.decodes
            monkeypatch.setattr(type(memory), "checked", None)
