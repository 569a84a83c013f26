"""From a readout's answer to what the last projection sees: norm, gate, skip.

Rules say which stages, in which order (`Recurrence.finish`):

    most       rms_norm(y) * silu(z)
    mamba2     rms_norm((y + skip) * silu(z))
    rwkv7      (rms_norm(y) + skip) * z
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.layers.dense import PLAIN, Dense
from mcore.layers.dense import Pair as DensePair
from mcore.layers.gated import gated, gated_backward
from mcore.model.part import Params, Shapes

NORM = "norm.weight"

Pair = tuple[Array, Array]


class Stage(NamedTuple):
    """A pair over (y, the input if it has one, the parameter if it has one)."""

    forward: Callable[..., tuple[Array, Any]]
    backward: Callable[..., tuple[Array, ...]]
    input: str | None = None
    parameter: str | None = None

    @property
    def names(self) -> list[str]:
        """The arguments after y."""
        return [name for name in (self.input, self.parameter) if name]


def wide(norm: DensePair) -> DensePair:
    """A norm over all heads together: y (B, T, H, V), weight (H V,)."""

    def forward(y: Array, weight: Array) -> tuple[Array, Any]:
        flat, saved = norm.forward(y.reshape(*y.shape[:2], -1), weight)
        return flat.reshape(y.shape), saved

    def backward(saved: Any, dy: Array) -> Pair:
        d_flat, d_weight = norm.backward(saved, dy.reshape(*dy.shape[:2], -1))
        return d_flat.reshape(dy.shape), d_weight

    return DensePair(forward, backward)


def times(y: Array, z: Array) -> tuple[Array, Pair]:
    """`y z`."""
    return y * z, (y, z)


def times_backward(saved: Pair, dy: Array) -> Pair:
    """Gradients of `times`."""
    y, z = saved
    return dy * z, dy * y


def plus(y: Array, skip: Array) -> tuple[Array, None]:
    """`y + skip`."""
    return y + skip, None


def plus_backward(saved: None, dy: Array) -> Pair:
    """Gradients of `plus`."""
    return dy, dy


STAGES = {
    "gate": Stage(gated, gated_backward, "z"),
    "times": Stage(times, times_backward, "z"),
    "skip": Stage(plus, plus_backward, "skip"),
}


@dataclass(frozen=True)
class Finish:
    """The stages between the readout and the last projection.

    Attributes:
        order: names of `STAGES`.
        heads, value: H and V.
        dense: what runs the dense pairs.
    """

    order: tuple[str, ...]
    heads: int
    value: int
    dense: Dense = PLAIN

    @cached_property
    def stages(self) -> list[Stage]:
        """What runs: a norm with a gate right after it is one stage."""
        if self.order == ("norm", "gate"):
            return [Stage(*self.dense.gated_rms_norm, "z", NORM)]
        norms = {"norm": self.dense.rms_norm, "wide_norm": wide(self.dense.rms_norm)}
        norm_stages = {name: Stage(*pair, None, NORM) for name, pair in norms.items()}
        return [(STAGES | norm_stages)[name] for name in self.order]

    def shapes(self) -> Shapes:
        """`norm.weight`: (V,), or (H V,) of a wide norm."""
        wide = self.heads if "wide_norm" in self.order else 1
        return {NORM: (wide * self.value,)}

    def init(self, dtype: str) -> Params:
        """Ones."""
        return {name: np.ones(shape, dtype) for name, shape in self.shapes().items()}

    def forward(self, y: Array, inputs: dict[str, Array], params: Params) -> tuple[Array, Any]:
        """(B, T, H, V) from y (B, T, H, V) and the inputs `z`, `skip` where they are used."""
        known, kept = {**params, **inputs}, []
        for stage in self.stages:
            y, saved = stage.forward(y, *(known[name] for name in stage.names))
            kept.append(saved)
        return y, kept

    def backward(self, saved: Any, dy: Array) -> tuple[Array, dict[str, Array], Params]:
        """Gradients with respect to y, to the inputs that were used, and to the parameters."""
        found: dict[str, Array] = {}
        for stage, kept in zip(reversed(self.stages), reversed(saved), strict=True):
            dy, *more = stage.backward(kept, dy)
            found |= dict(zip(stage.names, more, strict=True))
        grads = {NORM: found.pop(NORM)}
        return dy, found, grads
