"""What readouts and simple rules give, in a few lines of NumPy that share nothing with the library.

Arrays are (B, T, H, .); `owner` (T,) is the segment of each token. Sources: Behrouz et al. 2026,
Eq. 4-10; section numbers are theirs.
"""

from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.testing.samples import axis
from mcore.testing.theorems.case import Case

EPSILON = 1e-6
PLAIN = ("linear", "retention", "gated_linear", "mamba2", "gla", "delta", "gated_delta")
"""Rules with the one form of `write`."""


def is_plain(case: Case) -> bool:
    """Whether `base` and `grm` know the rule."""
    return axis(case.composition, "recurrence")["kind"] in PLAIN


def owner_of(case: Case) -> Array:
    """(T,) the segment of each token."""
    return np.repeat(np.arange(len(case.lengths)), case.lengths)


def feature(case: Case, x: Array) -> Array:
    """The feature map of a linear rule: x itself, or elu(x) + 1."""
    if axis(case.composition, "recurrence").get("feature_map") != "elu1":
        return x
    mapped: Array = np.where(x > 0, x + 1.0, np.exp(np.minimum(x, 0.0)))
    return mapped


def write(state: Array, x: dict[str, Array]) -> Array:
    """A = exp(log_decay) S, then A + beta k (v - A^T k)^T; without beta A + k v^T."""
    if "log_decay" in x:
        decay = np.exp(x["log_decay"])
        state = (decay[..., None] if decay.ndim == 3 else decay[..., None, None]) * state
    v = x["v"]
    if "beta" in x:
        v = x["beta"][..., None] * (v - np.einsum("bhkv,bhk->bhv", state, x["k"]))
    written: Array = state + np.einsum("bhk,bhv->bhkv", x["k"], v)
    return written


def grm(case: Case) -> Array:
    """y of gated residual memory for a plain rule: softmax gates times reads."""
    y: Array = np.einsum("bths,bthsv->bthv", gates(case), reads(case))
    return y


def base(case: Case) -> Array:
    """y of the plain rule without cuts."""
    y: Array = reads(case.cut([case.sizes.T]))[:, :, :, 0]
    return y


def reads(case: Case) -> Array:
    """(B, T, H, S, V): what the memory of each segment, as far as it is written, answers to q_t."""
    B, T, H, K, V = case.sizes
    q, k = (feature(case, case.inputs[name]) for name in "qk")
    owner, answers = owner_of(case), np.zeros((B, T, H, len(case.lengths), V))
    states, sums = np.zeros((len(case.lengths), B, H, K, V)), np.zeros((len(case.lengths), B, H, K))
    carries = case.axes.start == "checkpoint"
    for t, s in enumerate(owner):
        first = t > 0 and owner[t - 1] < s
        if first and carries:
            states[s], sums[s] = states[s - 1], sums[s - 1]
        token = {name: case.inputs[name][:, t] for name in _written(case)}
        if "log_decay" in case.inputs and "log_decay" not in token:
            token["log_decay"] = np.broadcast_to(case.inputs["log_decay"], (B, H))
        states[s] = write(states[s], token | {"k": k[:, t]})
        sums[s] += k[:, t]
        answers[:, t] = np.einsum("sbhkv,bhk->bhsv", states, q[:, t])
        if axis(case.composition, "recurrence").get("normalize"):
            answers[:, t] /= np.einsum("sbhk,bhk->bhs", sums, q[:, t])[..., None] + EPSILON
    return answers


def _written(case: Case) -> list[str]:
    """The inputs of a token's write."""
    return [name for name in ("v", "log_decay", "beta") if case.declared.get(name, "")[:3] == "B T"]


def gates(case: Case) -> Array:
    """(B, T, H, S): softmax of <u_t, context> times the scale, over the memories that t sees; the
    context of the open segment is that of its tokens so far. 0 for those not seen."""
    readout, owner = axis(case.composition, "readout"), owner_of(case)
    k, S = feature(case, case.inputs["k"]), len(case.lengths)
    u = case.inputs["q" if readout.get("u") == "shared" else "u"]
    tokens = np.arange(len(owner))
    member = (owner == np.arange(S)[:, None])[None] & (tokens <= tokens[:, None])[:, None]
    count = member.sum(axis=-1)
    contexts = np.einsum("tsj,bjhk->bthsk", member.astype(float), k)
    if readout.get("pool", "mean") == "mean":
        contexts /= np.maximum(count, 1)[:, None, :, None]
    logits = np.einsum("bthk,bthsk->bths", u, contexts) * _scale(case, readout)
    seen = count > 0
    online = owner[:, None] == np.arange(S)
    outside = readout.get("online") == "outside"
    shares = softmax(logits, (seen & ~(online & outside))[:, None])
    shares += (online & outside)[:, None]
    return shares


def _scale(case: Case, readout: dict[str, Any]) -> Any:
    """What logits are multiplied by: 1 / sqrt(K), or the readout's own; times the temperature."""
    scale = readout.get("scale")
    scale = case.inputs["k"].shape[-1] ** -0.5 if scale is None else scale
    return scale * case.inputs["temperature"][:, None] if readout.get("temperature") else scale


def softmax(logits: Array, seen: Array) -> Array:
    """Over the last axis and those seen; all 0 where none is."""
    shown = np.where(seen, logits, -np.inf)
    largest = shown.max(axis=-1, keepdims=True)
    weights: Any = np.exp(shown - np.where(np.isfinite(largest), largest, 0.0))
    total = weights.sum(axis=-1, keepdims=True)
    shares: Array = weights / np.where(total > 0, total, 1.0)
    return shares
