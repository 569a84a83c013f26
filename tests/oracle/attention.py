"""The same function as attention: y = (W * (phi(Q) phi(K)^T)) V with one (T, T) weight per head.

No memory is ever formed. For additive and decayed rules with independent segments, token t reads
token j with the decay from j to the end of what t sees of j's segment, times that segment's gate.
Gates live on tokens too: with n the number of tokens that t sees of j's segment, the softmax over
segments is exp(logit[t, j]) / sum_j exp(logit[t, j]) / n[t, j].
"""

from collections.abc import Mapping
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import numpy.typing as npt

from oracle.composition import Composition, axis
from oracle.segments import segment_lengths

Array = npt.NDArray[Any]
RULES = ("linear", "retention", "gated_linear")
READOUTS = ("none", "residual", "grm", "moving_average")


def has_attention_form(composition: Composition) -> bool:
    """Independent segments of a rule without error correction, all reads weighed by token pairs."""
    if set(axis(composition, "readout")) - {"kind", "weights"}:
        return False
    return (
        composition["start"] == "independent"
        and axis(composition, "recurrence")["kind"] in RULES
        and axis(composition, "readout")["kind"] in READOUTS
    )


def attention_oracle(inputs: Mapping[str, Any], composition: Composition) -> Any:
    """y (B, T, H, V) by the matrix form."""
    rows = [attend_row(inputs, composition, b) for b in range(inputs["q"].shape[0])]
    return anp.stack(rows)


def attention_gradients(
    inputs: Mapping[str, Any], composition: Composition, dy: Array
) -> dict[str, Array]:
    """Gradient of <dy, y> with respect to every input, through the matrix form."""
    objective = lambda variables: anp.sum(attention_oracle(variables, composition) * dy)  # noqa: E731
    return dict(autograd.grad(objective)(dict(inputs)))


def attend_row(inputs: Mapping[str, Any], composition: Composition, b: int) -> Any:
    """One row, all heads at once: y (T, H, V)."""
    rule = axis(composition, "recurrence")
    q, k = (phi(rule, inputs[name][b]) for name in ("q", "k"))
    T = q.shape[0]
    member, visible = masks(segment_lengths(axis(composition, "segmentation"), T, b))
    scores = anp.einsum("thk,jhk->htj", q, k) * decays(inputs, b, member, visible)
    if rule.get("normalize", False):
        scores = scores / (anp.matmul(scores, member) + 1e-6)
    pair_gates = gates(inputs, composition, b, (k, member, visible))
    return anp.einsum("htj,jhv->thv", scores * pair_gates, inputs["v"][b])


def phi(rule: Mapping[str, Any], x: Any) -> Any:
    """Identity, or elu + 1 written with its clipped halves."""
    if rule.get("feature_map", "identity") == "identity":
        return x
    return anp.exp(anp.minimum(x, 0.0)) + anp.maximum(x, 0.0)


def masks(lengths: list[int]) -> tuple[Array, Array]:
    """member[i, j]: one segment holds both; visible[t, j]: j is not after t."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    return (owner[:, None] == owner[None, :]).astype(float), np.tri(len(owner))


def decays(inputs: Mapping[str, Any], b: int, member: Array, visible: Array) -> Any:
    """(H, T, T): exp of the log decays after j that t sees in j's segment; 0 where j is after t."""
    if "log_decay" not in inputs:
        return visible
    T, H = inputs["q"].shape[1:3]
    log_decay = inputs["log_decay"]
    rates = anp.ones((T, 1)) * log_decay if log_decay.ndim == 1 else log_decay[b]
    later = member * (1.0 - np.tri(T))
    between = visible[:, None, :] * later[None, :, :]
    return anp.exp(anp.einsum("tjl,lh->htj", between, anp.reshape(rates, (T, H)))) * visible


def gates(
    inputs: Mapping[str, Any], composition: Composition, b: int, keys: tuple[Any, Array, Array]
) -> Any:
    """(H, T, T): the weight token t gives to the segment of token j."""
    k, member, visible = keys
    kind = axis(composition, "readout")["kind"]
    count = np.matmul(visible, member)
    if kind == "residual":
        return visible
    if kind == "none":
        return visible * member
    if kind == "moving_average":
        segments_seen = np.sum(visible / np.maximum(count, 1.0), axis=1)
        return visible / segments_seen[:, None]
    return softmax_gates(inputs["u"][b], k, member, visible)


def softmax_gates(u: Any, k: Any, member: Array, visible: Array) -> Any:
    """The softmax over segments, spread over their tokens."""
    count = np.maximum(np.matmul(visible, member), 1.0)
    logit = anp.matmul(anp.einsum("thk,jhk->htj", u, k) * visible, member) / count
    weight = anp.exp(logit / np.sqrt(k.shape[-1])) * visible
    return weight / anp.sum(weight / count, axis=-1, keepdims=True)
