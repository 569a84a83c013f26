"""Layers that their papers spell out, against loops over tokens written from those papers."""

from typing import Any

import numpy as np
import pytest

import mcore
from mcore.arrays import Array
from mcore.model.memory_mixer import MemoryMixer

B, T, D, H, K, V = 2, 6, 10, 2, 4, 3
Params = dict[str, Array]


def layer(kind: str, **sizes: Any) -> tuple[MemoryMixer, Params]:
    """The mixer of a one-block model, with random numbers added to all parameters."""
    sizes = {"width": D, "depth": 1, "heads": H, "key": K, "value": V} | sizes
    spec = {"model": sizes, "memory": {"recurrence": kind}, "dtype": "float64"}
    model = mcore.compile(spec | {"backend": "reference", "data": {"task": "mqar", "vocab": 40}})
    mixer = model.layout.parts["blocks.0.mixer"].part
    assert isinstance(mixer, MemoryMixer)
    rng = np.random.default_rng(1)
    params = mixer.init(rng, "float64")
    return mixer, {name: x + 0.3 * rng.standard_normal(x.shape) for name, x in params.items()}


def answer(mixer: MemoryMixer, params: Params) -> tuple[Array, Array]:
    x = np.random.default_rng(2).standard_normal((B, T, D))
    return x, mixer.forward(params, x, {})[0]


def columns(mixer: MemoryMixer, params: Params, name: str) -> Array:
    """The columns of the projection that make an input."""
    (slot,) = (s for s in mixer.projection.slots if s.name == name)
    return params["project.weight"][:, slot.columns]


def sigmoid(x: Array) -> Array:
    y: Array = 1 / (1 + np.exp(-x))
    return y


def rms(x: Array) -> Array:
    y: Array = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    return y


def heads(x: Array) -> Array:
    return x.reshape(B, H, -1)


def test_mamba2_is_the_published_layer() -> None:
    mixer, p = layer("mamba2", conv=0)
    x, y = answer(mixer, p)
    state = np.zeros((B, H, K, V))
    for t in range(T):
        c, b, value = (x[:, t] @ columns(mixer, p, n) for n in ("q", "k", "value"))
        c, b, value = (heads(z * sigmoid(z)) for z in (c, b, value))
        step = np.log1p(np.exp(x[:, t] @ columns(mixer, p, "log_decay") + p["dt_bias"]))
        decay = np.exp(-np.exp(p["a_log"]) * step)
        written = b[..., None] * (step[..., None] * value)[..., None, :]
        state = decay[..., None, None] * state + written
        h = np.einsum("bhkv,bhk->bhv", state, c) + p["skip.weight"][:, None] * value
        z = x[:, t] @ columns(mixer, p, "z")
        gated = h.reshape(B, -1) * z * sigmoid(z)
        wanted = (rms(gated) * p["norm.weight"]) @ p["out.weight"]
        np.testing.assert_allclose(y[:, t], wanted, rtol=1e-9, atol=1e-12)


def test_rwkv7_is_the_published_layer() -> None:
    mixer, p = layer("rwkv7")
    x, y = answer(mixer, p)
    names = ("q", "key", "v", "log_decay", "a", "z")
    state, before = np.zeros((B, H, K, V)), np.zeros((B, D))
    for t in range(T):
        mixed = (x[:, t] + mix * (before - x[:, t]) for mix in p["mix.weight"])
        seen = {n: m @ columns(mixer, p, n) for n, m in zip(names, mixed, strict=True)}
        before = x[:, t]
        r, key, v = (heads(seen[n]) for n in ("q", "key", "v"))
        speed = np.tanh(seen["log_decay"]) @ p["log_decay.up"] + p["log_decay.bias"]
        decay = np.exp(-np.exp(-0.5) * heads(sigmoid(speed)))
        a = heads(sigmoid(seen["a"] @ p["a.up"] + p["a.bias"]))
        removal = key * p["kk.weight"].reshape(H, K)
        removal = removal / np.sqrt((removal**2).sum(-1, keepdims=True) + 1e-6)
        k = key * (1 + (a - 1) * p["k.weight"].reshape(H, K))
        recalled = np.einsum("bhkv,bhk->bhv", state, removal)
        state = decay[..., None] * state + k[..., None] * v[..., None, :]
        state = state - (removal * a)[..., None] * recalled[..., None, :]
        h = rms(np.einsum("bhkv,bhk->bhv", state, r)) * p["norm.weight"]
        h = h + (r * k * p["skip.weight"].reshape(H, K)).sum(-1, keepdims=True) * v
        gate = sigmoid(seen["z"]) @ p["z.up"]
        wanted = (h.reshape(B, -1) * gate) @ p["out.weight"]
        np.testing.assert_allclose(y[:, t], wanted, rtol=1e-9, atol=1e-12)


def test_mlstm_gates_are_capped_maps_of_q_k_v() -> None:
    mixer, p = layer("mlstm", conv=0)
    x, _ = answer(mixer, p)
    inputs, _ = mixer.projection.forward(p, x, {})
    for gate in ("igate", "fgate"):
        z = sum(inputs[n].reshape(B, T, -1) @ p[f"{gate}.{n}"] for n in "qkv") + p[f"{gate}.bias"]
        np.testing.assert_allclose(inputs[gate], 15 * np.tanh(z / 15), rtol=1e-10)


def test_retention_turns_queries_and_keys_with_the_distance() -> None:
    mixer, p = layer("retention", conv=0)
    x = np.tile(np.random.default_rng(2).standard_normal((B, 1, D)), (1, T, 1))
    inputs, _ = mixer.projection.forward(p, x, {})
    scores = np.einsum("bthk,bshk->bhts", inputs["q"], inputs["k"])
    for distance in range(T - 1):
        same = np.diagonal(scores, -distance, 2, 3)
        np.testing.assert_allclose(same - same[..., :1], 0, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "name", "start"),
    [("mamba2", "skip.weight", 1), ("rwkv7", "skip.weight", 0), ("mlstm", "fgate.k", 0)],
)
def test_own_weights_start_as_published(kind: str, name: str, start: float) -> None:
    mixer, _ = layer(kind)
    params = mixer.init(np.random.default_rng(0), "float32")
    assert (params[name] == start).all()
