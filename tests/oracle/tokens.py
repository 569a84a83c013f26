"""The oracle: every row, head, segment and token in turn, in float64."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import autograd
import autograd.numpy as anp
import numpy as np
import numpy.typing as npt

from oracle.composition import Composition, axis
from oracle.readouts import combine
from oracle.routing import View, context, logits
from oracle.rules import begin, feature, go_on, write
from oracle.segments import segment_lengths

Array = npt.NDArray[Any]
Inputs = Mapping[str, Any]
PARAMETERS = (
    "recurrent", "recurrent_bias", "w_in", "w_out", "gate_online", "gate_cached", "gate_bias",
)  # fmt: skip


class Head(NamedTuple):
    """One head of one row: tokens as dicts of their inputs, segment lengths, widths."""

    number: int
    tokens: list[dict[str, Any]]
    lengths: list[int]
    key_width: int
    value_width: int


def oracle(inputs: Inputs, composition: Composition) -> Any:
    """y (B, T, H, V) of `mcore.memory` for `inputs`, an array for every name it declares."""
    B, T, H = sizes(inputs)
    readout = axis(composition, "readout")
    outputs = [
        combine(readout, view)
        for b in range(B)
        for h in range(H)
        for view in views(head(inputs, composition, b, h), composition)
    ]
    return anp.transpose(anp.reshape(anp.stack(outputs), (B, H, T, -1)), (0, 2, 1, 3))


def oracle_gradients(inputs: Inputs, composition: Composition, dy: Array) -> dict[str, Array]:
    """Gradient of <dy, y> with respect to every input."""
    objective = lambda variables: anp.sum(oracle(variables, composition) * dy)  # noqa: E731
    return dict(autograd.grad(objective)(dict(inputs)))


def selection_gap(inputs: Inputs, composition: Composition) -> float:
    """How far a top-k selection is from a tie: the least gap between a taken and a left logit."""
    readout = axis(composition, "readout")
    top_k = readout["top_k"]
    B, _, H = sizes(inputs)
    gaps = [np.inf]
    if readout.get("router") == "random":
        return float(min(gaps))
    for b, h in np.ndindex(B, H):
        for view in views(head(inputs, composition, b, h), composition):
            ranked = sorted(logits(readout, view)[:-1], reverse=True)
            if len(ranked) > top_k:
                gaps.append(ranked[top_k - 1] - ranked[top_k])
    return float(min(gaps))


def head(inputs: Inputs, composition: Composition, b: int, h: int) -> Head:
    """One head of one row taken out of the inputs."""
    T = sizes(inputs)[1]
    tokens = [{name: pick(name, inputs[name], b, t, h) for name in inputs} for t in range(T)]
    lengths = segment_lengths(axis(composition, "segmentation"), T, b)
    key_width = inputs["k"].shape[-1] if "k" in inputs else 0
    value_width = inputs["v"].shape[-1] if "v" in inputs else inputs["recurrent"].shape[1]
    return Head(h, tokens, lengths, key_width, value_width)


def sizes(inputs: Inputs) -> tuple[int, int, int]:
    """B, T, H."""
    B, T, H, _ = inputs["q" if "q" in inputs else "x"].shape
    return B, T, H


def pick(name: str, array: Any, b: int, t: int, h: int) -> Any:
    """The entry of one token: a parameter (H, ...) is the same for all of them."""
    return array[h] if array.ndim == 1 or name in PARAMETERS else array[b, t, h]


def views(head: Head, composition: Composition) -> Iterator[View]:
    """What each token of a head sees, in order."""
    rule, readout = axis(composition, "recurrence"), axis(composition, "readout")
    cached: list[Any] = []
    cached_contexts: list[Any] = []
    position = 0
    for length in head.lengths:
        online = begin(rule, head.tokens[position], (head.key_width, head.value_width))
        if composition["start"] == "checkpoint" and cached:
            online = go_on(cached[-1])
        keys: list[Any] = []
        for t, token in enumerate(head.tokens[position : position + length], position):
            online = write(rule, online, token)
            keys.append(feature(rule, token.get("k", anp.zeros(0))))
            contexts = [*cached_contexts, context(readout, keys)]
            yield View(rule, [*cached, online], contexts, token, (t, head.number))
        cached.append(online)
        cached_contexts.append(contexts[-1])
        position += length
