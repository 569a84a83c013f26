"""Random inputs of realistic size for a composition, from a seed.

Keys are near unit length (a delta rule contracts), beta lies in (0, 1), log_decay in (-2, 0) with
exact 0 and -40 among it, and the normaliser of an identity feature map sees positive keys and
queries only. For top-k routing u is drawn again until no token is near a tie: selection is not
differentiable there, and float32 may select otherwise than float64. Deep memories take small steps
from weights that keep the size of what they multiply.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array

TOKEN_INPUTS = {"q": "B T H K", "k": "B T H K", "v": "B T H V"}
DEEP_INPUTS = {"step": "B T H", "log_decay": "B T H", "w_in": "H K E", "w_out": "H E V"}
RULE_INPUTS: dict[str, dict[str, str]] = {
    "linear": {},
    "retention": {"log_decay": "H"},
    "gated_linear": {"log_decay": "B T H"},
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
GATES = {"lstm": 4, "gru": 3, "slstm": 4}
"""G, of the rules that take gates instead of q, k, v."""
SQUARE = frozenset({"dla", "titans", "yaad", "moneta", "memora"})
"""Rules whose values are as wide as their keys."""

SMALLER_STEPS = {"titans": 0.25, "moneta": 0.01}
"""Momentum adds steps up, and a cubed error pulls harder: these keep away from divergence."""

ROUTED = ("grm", "soup", "ssc")
DRAWS = 64
CLEAR_GAP = 0.02


def axis(composition: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One axis of a composition as a dict with `kind`."""
    value = composition[name]
    return {"kind": value} if isinstance(value, str) else dict(value)


def declared_inputs(composition: Mapping[str, Any]) -> dict[str, str]:
    """Name -> axes of the inputs that a composition needs, as `memory.inputs` should say."""
    routed = axis(composition, "readout")["kind"] in ROUTED
    kind = axis(composition, "recurrence")["kind"]
    tokens = {} if kind in GATES else TOKEN_INPUTS
    return tokens | RULE_INPUTS[kind] | ({"k": "B T H K", "u": "B T H K"} if routed else {})


def sample_inputs(
    composition: Mapping[str, Any], sizes: Sequence[int], seed: int
) -> dict[str, Array]:
    """An array for every declared input; `sizes` are B, T, H, K, V."""
    rng = np.random.default_rng(seed)
    dims = dict(zip("BTHKV", fitting(composition, sizes), strict=True))
    dims["E"] = dims["K"] + 1
    dims["G"] = GATES.get(axis(composition, "recurrence")["kind"], 0)
    inputs = {
        name: _rounded(_sample(name, shape_of(axes, dims), rng))
        for name, axes in declared_inputs(composition).items()
    }
    rule = axis(composition, "recurrence")
    if rule.get("normalize") and rule.get("feature_map", "identity") == "identity":
        inputs |= {name: _rounded(0.2 + np.abs(inputs[name])) for name in ("q", "k")}
    if rule["kind"] in SMALLER_STEPS:
        inputs["step"] = _rounded(SMALLER_STEPS[rule["kind"]] * inputs["step"])
    if axis(composition, "readout")["kind"] == "ssc":
        inputs["u"] = _clear_of_ties(inputs, composition, rng)
    return inputs


def shape_of(axes: str, dims: Mapping[str, int]) -> tuple[int, ...]:
    """The shape that declared axes such as `"B T H G*V"` have with these sizes."""
    return tuple(prod(dims[letter] for letter in axis.split("*")) for axis in axes.split())


def fitting(composition: Mapping[str, Any], sizes: Sequence[int]) -> tuple[int, ...]:
    """B, T, H, K, V as the rule can take them: some want values as wide as keys."""
    B, T, H, K, V = sizes
    return B, T, H, K, K if axis(composition, "recurrence")["kind"] in SQUARE else V


def sample_normal(shape: tuple[int, ...], seed: int) -> Array:
    """Standard normal numbers that fit in float32, as float64."""
    return _rounded(np.random.default_rng(seed).standard_normal(shape))


def _sample(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if name in ("beta", "beta_prev", "momentum", "a"):
        return rng.uniform(0.05, 0.95, shape)
    if name == "log_decay":
        kind = rng.choice(3, p=[0.8, 0.1, 0.1], size=shape)
        return np.choose(kind, [rng.uniform(-2.0, 0.0, shape), np.zeros(shape), -40.0])
    if name == "delta":
        return rng.uniform(0.5, 2.5, shape)
    if name == "step":
        return rng.uniform(0.05, 0.4, shape)
    x = rng.standard_normal(shape)
    if name in ("w_in", "w_out"):
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


def _rounded(x: Array) -> Array:
    return x.astype(np.float32).astype(np.float64)


class _Row(NamedTuple):
    """Keys (T, H, K) of a row as routing pools them, its segment lengths, and top_k."""

    keys: Array
    lengths: Sequence[int]
    top_k: int


def _clear_of_ties(
    inputs: Mapping[str, Array], composition: Mapping[str, Any], rng: np.random.Generator
) -> Array:
    """u with, for each token, the clearest of several draws, or the first that is clear enough."""
    u = inputs["u"].copy()
    keys = inputs["k"]
    if axis(composition, "recurrence").get("feature_map") == "elu1":
        keys = np.where(keys > 0, keys + 1, np.exp(np.minimum(keys, 0)))
    B, T, H, _ = u.shape
    for b, t, h in np.ndindex(B, T, H):
        row = _Row(keys[b], _lengths(axis(composition, "segmentation"), T, b), _top_k(composition))
        u[b, t, h] = _clearest(u[b, t, h], row, (t, h), rng)
    return u


def _clearest(u: Array, row: _Row, place: tuple[int, int], rng: np.random.Generator) -> Array:
    best, best_gap = u, _gap(u, row, *place)
    for _ in range(DRAWS):
        if best_gap >= CLEAR_GAP:
            break
        draw = _rounded(rng.standard_normal(u.shape))
        gap = _gap(draw, row, *place)
        if gap > best_gap:
            best, best_gap = draw, gap
    return best


def _top_k(composition: Mapping[str, Any]) -> int:
    return int(axis(composition, "readout")["top_k"])


def _gap(u: Array, row: _Row, t: int, h: int) -> float:
    """Between the last selected and the first left-out logit of one token."""
    ends = np.cumsum(row.lengths)
    starts = ends - row.lengths
    logits = [
        u @ row.keys[start:end, h].mean(axis=0)
        for start, end in zip(starts, ends, strict=True)
        if end <= t
    ]
    if len(logits) <= row.top_k:
        return np.inf
    ranked = np.sort(logits)[::-1] / np.sqrt(len(u))
    return float(ranked[row.top_k - 1] - ranked[row.top_k])


def _lengths(segmentation: Mapping[str, Any], tokens: int, row: int) -> list[int]:
    kind = segmentation["kind"]
    if kind == "constant":
        length = segmentation["length"]
        return [min(length, tokens - start) for start in range(0, tokens, length)]
    if kind == "logarithmic":
        return [1 << bit for bit in reversed(range(tokens.bit_length())) if tokens >> bit & 1]
    if kind == "given":
        lengths = segmentation["lengths"]
        return list(lengths[row] if isinstance(lengths[0], list) else lengths)
    return [tokens]
