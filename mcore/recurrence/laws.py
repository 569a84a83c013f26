"""How a layer makes each input of a rule: what a rule says about it, by which the layer builds it.

A rule's `features` map names to these laws; `mcore.model.projection` follows them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from mcore.arrays import Array


@dataclass(frozen=True)
class Feature:
    """How a layer makes one vector input (q, k, v) from x: projection, then these in order.

    Attributes:
        conv: short causal convolution.
        silu: SiLU activation.
        unit: L2 norm over the head's width.
        rotary: turned by the token's position in the stream.
        scale: multiplied by width^-1/2.
        shift: projected from a mix of the token and the one before it.
        bias: starting value (H, width) of a trained bias added before the activation; None for no
            bias. From a random generator and its shape.
    """

    conv: bool = True
    silu: bool = True
    unit: bool = False
    rotary: bool = False
    scale: bool = False
    shift: bool = False
    bias: Callable[[np.random.Generator, tuple[int, ...]], Array] | None = None


@dataclass(frozen=True)
class Gate:
    """How a layer makes one scalar input per head from x.

    `sigmoid`: `sigmoid(z)`. `decay`: `-exp(a_log) softplus(z + dt_bias)`. `slow_decay`:
    `log(sigmoid(z)) / 16`. `bounded_decay`: `-exp(-1/2) sigmoid(z)`. `identity`: z. With
    z = x W + bias.

    Attributes:
        law: one of these names.
        rank: if not 0, one number per channel instead, from `z = f(x W) W_up + bias` with W_up
            (rank, H K).
        inner: f, `identity`, `tanh` or `sigmoid`.
        bias: starting value (H, width) of a trained bias; None for no bias.
        largest: what a sigmoid is multiplied by.
        over: a declared axis, by whose length a layer divides `largest`; none if empty.
        shift: as of a feature.
    """

    law: str
    rank: int = 0
    inner: str = "identity"
    bias: Callable[[np.random.Generator, tuple[int, ...]], Array] | None = None
    largest: float = 1.0
    over: str = ""
    shift: bool = False

    def sized(self, lengths: Mapping[str, int]) -> "Gate":
        """The gate once the lengths of axes are known: with `largest / lengths[over]`."""
        if not self.over:
            return self
        return replace(self, largest=self.largest / lengths[self.over], over="")


@dataclass(frozen=True)
class Parameter:
    """An input that is the same for all tokens.

    Attributes:
        start: its starting value, from a random generator and its shape.
        trained: whether it is a parameter of the model, or stays as it starts.
    """

    start: Callable[[np.random.Generator, tuple[int, ...]], Array]
    trained: bool = True


@dataclass(frozen=True)
class Derived:
    """How a layer makes an input from other inputs, `f(*of, weights)`, with weights of its own.

    `held`: `step x`, of x and the log_decay that the step is part of. `removal`: `unit(k w)`.
    `replacement`: `k (1 + (a - 1) w)`. `scaled`: `w_h x`. `bonus`: `(sum_k q k w) v`.
    `capped`: `15 tanh(z / 15)` with `z = sum of x W_x + bias` over all inputs.

    Attributes:
        law: one of these names.
        of: the inputs it is made of.
        bias: starting value (H, 1) of the bias; only of `capped`.
    """

    law: str
    of: tuple[str, ...]
    bias: Callable[[np.random.Generator, tuple[int, ...]], Array] | None = None


Law = Feature | Gate | Parameter | Derived
