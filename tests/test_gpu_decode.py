"""A stream decoded on the GPU, emulated: token by token the answers of the reference."""

from typing import Any

import numpy as np
import pytest
from gpu_cases import close_to
from gpu_variants import moved
from tolerances import tolerance

import mcore
from mcore.backend import Decoding
from mcore.backends.cupy_gpu.decode import CupyDecoder, decoder
from mcore.backends.cupy_gpu.decode_graph import TokenGraph
from mcore.backends.cupy_gpu.emulation.array import traffic
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.memory_layer import Memory
from mcore.recurrence import Dims

TOKENS, LENGTH = 23, 4
SIZES = {"B": 2, "T": TOKENS, "H": 2, "K": 3, "V": 5}
READOUTS: list[Any] = [
    "none",
    "grm",
    {"kind": "grm", "pool": "sum", "online": "outside", "temperature": True},
    {"kind": "ssc", "top_k": 2},
    {"kind": "soup", "u": "shared", "scale": 0.5},
    "residual",
    "moving_average",
    {"kind": "moving_average", "weights": "ema", "rate": 0.3},
]
RULES = ("linear", "retention", "gated_linear", "mamba2", "gla", "delta", "gated_delta")


def memory_of(rule: str, readout: Any, dtype: str, **options: Any) -> Memory:
    cut = {"kind": "constant", "length": LENGTH}
    return mcore.memory(rule, cut, readout, backend="reference", dtype=dtype, **options)


def stream_of(memory: Memory, seed: int = 1) -> CupyDecoder:
    dims = Dims(*(SIZES[name] for name in "BTHKV"))._replace(T=1)
    carries = memory.start == "checkpoint"
    decoding = Decoding(memory.rule, memory.readout, memory.cache, carries, dims, None)
    device = EmulatedDevice(seed)
    found = decoder(device, decoding, moved(memory.empty(dims), device))
    assert found is not None
    return found


def hold(memory: Memory, seed: int = 1, tokens: int = TOKENS) -> CupyDecoder:
    """Feed token by token, compare with the whole sequence, then the state with its end."""
    composition = {"recurrence": memory.rule.kind, "readout": {"kind": memory.readout.kind}}
    inputs = inputs_of(memory, composition)
    want, saved = memory.forward(inputs)
    stream, parameters = stream_of(memory, seed), parameters_of(memory)
    allowed = tolerance(memory.dtype, "forward")
    for t in range(tokens):
        token = {
            name: stream.device.upload(x if name in parameters else x[:, t : t + 1].copy())
            for name, x in inputs.items()
        }
        closes = np.full(SIZES["B"], t % LENGTH == LENGTH - 1)
        close_to(f"token {t}", stream.feed(token, closes), want[:, t : t + 1], allowed)
    if tokens == TOKENS:
        same_state(stream, saved.end, allowed)
    return stream


def same_state(stream: CupyDecoder, want: Any, allowed: float) -> None:
    got = stream.state
    for name in ("online", "checkpoints", "contexts", "keys"):
        close_to(name, getattr(got, name), getattr(want, name), allowed)
    for name in ("position", "length", "count", "ledger"):
        np.testing.assert_array_equal(getattr(got, name)[..., :1], getattr(want, name)[..., :1])


def to_host(x: Any) -> Any:
    return x.get()


def parameters_of(memory: Memory) -> set[str]:
    return {name for name, axes in memory.inputs.items() if "T" not in axes.split()}


def inputs_of(memory: Memory, composition: Any) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    found = {}
    for name, axes in memory.inputs.items():
        x = rng.normal(size=tuple(SIZES[a] for a in axes.split()))
        if name == "log_decay":
            x = -np.abs(x)
        if name == "beta":
            x = 1 / (1 + np.exp(-x))
        if name == "k":
            x /= np.linalg.norm(x, axis=-1, keepdims=True)
        found[name] = x.astype(memory.dtype)
    return found


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("start", ["independent", "checkpoint"])
def test_every_rule(rule: str, start: str) -> None:
    hold(memory_of(rule, {"kind": "ssc", "top_k": 2}, "float64", start=start))


@pytest.mark.parametrize("readout", READOUTS, ids=str)
def test_every_readout(readout: Any) -> None:
    hold(memory_of("gated_delta", readout, "float64"))


@pytest.mark.parametrize("readout", ["grm", {"kind": "ssc", "top_k": 2}, "residual"], ids=str)
def test_a_bounded_cache(readout: Any) -> None:
    hold(memory_of("gated_linear", readout, "float64", cache={"limit": 3}))


def test_float32_and_the_order_of_threads() -> None:
    memory = memory_of("gated_delta", "grm", "float32")
    first, second = (to_host(hold(memory, seed, tokens=9).state.online) for seed in (1, 2))
    assert np.array_equal(first, second)


def test_a_token_waits_for_nothing() -> None:
    memory = memory_of("gated_delta", "grm", "float64")
    stream = hold(memory, tokens=5)
    token = {
        name: stream.device.upload(x if name in parameters_of(memory) else x[:, :1].copy())
        for name, x in inputs_of(memory, {}).items()
    }
    traffic.reset()
    stream.feed(token, None)
    assert (traffic.down, traffic.up) == (0, 0)


def test_room_grows() -> None:
    """Past the room that there is at first, with nothing lost."""
    from mcore.backends.cupy_gpu import decode

    memory, before = memory_of("linear", "grm", "float64"), decode.SLOTS
    decode.SLOTS = 2
    try:
        assert hold(memory).memory.slots == 8
    finally:
        decode.SLOTS = before


@pytest.mark.parametrize("rule", ["gated_linear", "retention"])
def test_a_graph_of_a_token(rule: str) -> None:
    """Captured once and replayed, past borders and a cache that grows, it answers like `feed`."""
    memory = memory_of(rule, {"kind": "grm", "temperature": True}, "float64")
    inputs, parameters = inputs_of(memory, {}), parameters_of(memory)
    want, _ = memory.forward(inputs)
    stream = stream_of(memory)
    graph = TokenGraph(stream)
    for t in range(TOKENS):
        for name, x in inputs.items():
            token: Any = graph.token[name]
            token.set(x if name in parameters else x[:, t : t + 1])
        closes = np.full(SIZES["B"], t % LENGTH == LENGTH - 1)
        close_to(f"token {t}", graph.replay(closes), want[:, t : t + 1], 1e-9)
