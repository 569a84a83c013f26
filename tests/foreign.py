"""Kernels as others would write them: gated residual memory as attention; and with one bug each."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mcore.arrays import Array

Inputs = dict[str, Array]
Kernel = Callable[[Inputs, list[int]], Array]
KEPT: dict[int, list[int]] = {}


def grm(inputs: Inputs, lengths: list[int], bug: str = "") -> Array:
    """y (B, T, H, V) of linear x grm, independent."""
    if bug == "writes":
        inputs["k"] *= 0.5
    if bug == "stale":
        lengths = KEPT.setdefault(inputs["q"].shape[1], lengths)
    if bug == "raises":
        raise ValueError("no such tile")
    x = parts(inputs, lengths, bug)
    y: Array = np.einsum("bthj,bjhv->bthv", x["match"] * x["gate"], inputs["v"])
    return y[:, :-1] if bug == "shape" else y


def grm_backward(inputs: Inputs, lengths: list[int], dy: Array, bug: str = "") -> Inputs:
    """The gradients of `grm`."""
    q, k, v, u = (inputs[name] for name in "qkvu")
    x = parts(inputs, lengths, "")
    d_weight = np.einsum("bthv,bjhv->bthj", dy, v) * x["seen"]
    d_gates = np.einsum("bthj,sj->bths", d_weight * x["match"], x["of"])
    d_logits = x["gates"] * (d_gates - (x["gates"] * d_gates).sum(-1, keepdims=True)) * x["scale"]
    if bug == "softmax":
        d_logits = x["gates"] * d_gates * x["scale"]
    d_match = d_weight * x["gate"]
    d_contexts = np.einsum("bths,bthk->bthsk", d_logits, u)
    return {
        "q": np.einsum("bthj,bjhk->bthk", d_match, k),
        "k": np.einsum("bthj,bthk->bjhk", d_match, q)
        + np.einsum("tsj,bthsk->bjhk", x["pool"], d_contexts),
        "v": np.einsum("bthj,bthv->bjhv", x["match"] * x["gate"], dy),
        "u": np.einsum("bths,bthsk->bthk", d_logits, x["contexts"]),
    }


def parts(inputs: Inputs, lengths: list[int], bug: str) -> dict[str, Any]:
    """Gates and matches, (B, T, H, S) and (B, T, H, T)."""
    q, k, u = (inputs[name] for name in "qku")
    T, K = q.shape[1], q.shape[-1]
    owner = np.repeat(np.arange(len(lengths)), lengths)
    of = (owner == np.arange(len(lengths))[:, None]).astype(q.dtype)
    causal = np.tri(T, dtype=q.dtype)
    member = of * causal[:, None]
    if bug == "future":
        member = of * (np.arange(len(lengths)) <= owner[:, None])[:, :, None]
    count = member.sum(-1)
    pool = member / (1.0 if bug == "sum" else np.maximum(count, 1)[..., None])
    contexts = np.einsum("tsj,bjhk->bthsk", pool, k)
    if bug == "heads":
        contexts = contexts.mean(axis=2, keepdims=True) + 0 * contexts
    scale = q.dtype.type(1.0 if bug == "scale" else K**-0.5)
    logits = np.einsum("bthk,bthsk->bths", u, contexts) * scale
    if bug == "age":
        logits = logits + q.dtype.type(0.1) * np.arange(len(lengths), dtype=q.dtype)
    gates = softmax(np.where(count[:, None] > 0, logits, -np.inf), bug)
    if bug == "empty":
        gates = gates + 0 * np.empty(gates.shape, gates.dtype)
    match = np.einsum("bthk,bjhk->bthj", q, k) * causal[:, None]
    return {
        "of": of, "pool": pool, "contexts": contexts, "scale": scale, "gates": gates,
        "gate": gates[..., owner], "seen": causal[:, None], "match": match,
    }  # fmt: skip


def softmax(logits: Array, bug: str) -> Array:
    """Over the last axis."""
    largest = 0.0 if bug == "overflow" else logits.max(-1, keepdims=True)
    if bug == "float32":
        logits = logits.astype(np.float32)
    weights: Array = np.exp(logits - largest)
    return weights if bug == "unnormalised" else weights / weights.sum(-1, keepdims=True)


def broken(bug: str) -> Kernel:
    """`grm` with a bug, under its name."""
    kernel: Any = partial(grm, bug=bug)
    kernel.__module__, kernel.__qualname__ = "foreign", f"grm_{bug}"
    made: Kernel = kernel
    return made
