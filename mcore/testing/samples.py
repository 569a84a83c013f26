"""Random inputs of realistic size for a composition, from a seed.

Keys are near unit length (a delta rule contracts), beta lies in (0, 1), log_decay in (-2, 0) with
exact 0 and -40 among it, and the normaliser of an identity feature map sees positive keys and
queries only. For top-k routing u is drawn again until no token is near a tie: selection is not
differentiable there, and float32 may select otherwise than float64. Deep memories take small steps
from weights that keep the size of what they multiply.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.axes import make_recurrence
from mcore.recurrence import Gate, Recurrence
from mcore.testing.ties import clear_of_ties, rounded

DEEP_INPUTS = {"step": "B T H", "log_decay": "B T H", "w_in": "H K E", "w_out": "H E V"}
RULE_INPUTS: dict[str, dict[str, str]] = {
    "linear": {},
    "retention": {"log_decay": "H"},
    "gated_linear": {"log_decay": "B T H"},
    "mamba2": {"log_decay": "B T H"},
    "gla": {"log_decay": "B T H K"},
    "swla": {"log_decay": "B T H", "beta": "B T H", "beta_prev": "B T H"},
    "rwkv7": {"log_decay": "B T H K", "kk": "B T H K", "a": "B T H K"},
    "mlstm": {"igate": "B T H", "fgate": "B T H"},
    "delta": {"beta": "B T H"},
    "gated_delta": {"log_decay": "B T H", "beta": "B T H"},
    "dla": DEEP_INPUTS,
    "titans": DEEP_INPUTS | {"momentum": "B T H"},
    "yaad": DEEP_INPUTS | {"delta": "B T H"},
    "moneta": DEEP_INPUTS,
    "memora": DEEP_INPUTS,
    "lstm": {"x": "B T H G*V", "recurrent": "H V G*V"},
    "gru": {"x": "B T H G*V", "recurrent": "H V G*V", "recurrent_bias": "H V"},
    "slstm": {"x": "B T H G*V", "recurrent": "H V G*V"},
}
"""What each rule of the library declares besides q, k and v, spelled out once more: a test holds
the rules to it. A rule that is not here is sampled all the same."""

SMALLER_STEPS = {"titans": 0.25, "moneta": 0.01}
"""Momentum adds steps up, and a cubed error pulls harder: these keep away from divergence."""

ROUTED = ("grm", "soup", "ssc")
GATE_INPUTS = {"gate_online": "H V V", "gate_cached": "H V V", "gate_bias": "H V"}


def axis(composition: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One axis of a composition as a dict with `kind`."""
    value = composition[name]
    return {"kind": value} if isinstance(value, str) else dict(value)


def declared_inputs(composition: Mapping[str, Any]) -> dict[str, str]:
    """Name -> axes of the inputs that a composition needs, as `memory.inputs` should say."""
    declared = make_recurrence(composition["recurrence"]).inputs
    return declared | _readout_inputs(axis(composition, "readout"))


def _readout_inputs(readout: Mapping[str, Any]) -> dict[str, str]:
    if readout["kind"] == "sigmoid":
        return GATE_INPUTS
    if readout["kind"] not in ROUTED:
        return {}
    declared = {"k": "B T H K"} | ({"temperature": "H"} if readout.get("temperature") else {})
    return declared if readout.get("u") == "shared" else declared | {"u": "B T H K"}


def sample_inputs(
    composition: Mapping[str, Any], sizes: Sequence[int], seed: int
) -> dict[str, Array]:
    """An array for every declared input; `sizes` are B, T, H, K, V."""
    rng = np.random.default_rng(seed)
    dims = dict(zip("BTHKV", fitting(composition, sizes), strict=True))
    made = make_recurrence(composition["recurrence"])
    dims = made.sizes(dims["K"], dims["V"]) | {"E": dims["K"] + 1} | dims
    inputs = {
        name: rounded(_sample(made, name, shape_of(axes, dims), rng))
        for name, axes in declared_inputs(composition).items()
    }
    rule = axis(composition, "recurrence")
    if rule.get("normalize") and rule.get("feature_map", "identity") == "identity":
        inputs |= {name: rounded(0.2 + np.abs(inputs[name])) for name in ("q", "k")}
    if rule["kind"] in SMALLER_STEPS:
        inputs["step"] = rounded(SMALLER_STEPS[rule["kind"]] * inputs["step"])
    readout = axis(composition, "readout")
    if readout["kind"] == "ssc" and readout.get("router") != "random":
        inputs["u"] = clear_of_ties(inputs, (rule, axis(composition, "segmentation"), readout), rng)
    return inputs


def shape_of(axes: str, dims: Mapping[str, int]) -> tuple[int, ...]:
    """The shape that declared axes such as `"B T H G*V"` have with these sizes."""
    return tuple(prod(dims[letter] for letter in axis.split("*")) for axis in axes.split())


def fitting(composition: Mapping[str, Any], sizes: Sequence[int]) -> tuple[int, ...]:
    """B, T, H, K, V as the rule can take them: some want values as wide as keys."""
    B, T, H, K, V = sizes
    return B, T, H, K, K if make_recurrence(composition["recurrence"]).square else V


def sample_normal(shape: tuple[int, ...], seed: int) -> Array:
    """Standard normal numbers that fit in float32, as float64."""
    return rounded(np.random.default_rng(seed).standard_normal(shape))


def is_fraction(rule: Recurrence, name: str) -> bool:
    """Whether a layer makes this input with a sigmoid, so that it lies in (0, 1)."""
    law = rule.features.get(name)
    return isinstance(law, Gate) and law.law == "sigmoid" and law.largest == 1.0


def _sample(rule: Recurrence, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """By the names that rules share; a gate of any other name, by the law that makes it."""
    if name in ("beta", "beta_prev", "momentum", "a"):
        return rng.uniform(0.05, 0.95, shape)
    if name == "log_decay":
        kind = rng.choice(3, p=[0.8, 0.1, 0.1], size=shape)
        return np.choose(kind, [rng.uniform(-2.0, 0.0, shape), np.zeros(shape), -40.0])
    if name in ("delta", "temperature"):
        return rng.uniform(0.5, 2.5, shape)
    if name == "step":
        return rng.uniform(0.05, 0.4, shape)
    if is_fraction(rule, name):
        return rng.uniform(0.05, 0.95, shape)
    x = rng.standard_normal(shape)
    if name in ("w_in", "w_out", "gate_online", "gate_cached"):
        x /= np.sqrt(shape[1])
    if name == "fgate":
        x = 3.0 + 2.0 * x
    if name == "recurrent":
        x /= np.sqrt(shape[1])
    if name == "kk":
        x /= np.linalg.norm(x, axis=-1, keepdims=True)
    if name == "k":
        x *= rng.uniform(0.8, 1.1, (*shape[:-1], 1)) / np.linalg.norm(x, axis=-1, keepdims=True)
    return x
