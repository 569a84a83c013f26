"""Inputs that a layer makes of other inputs: `mcore.model.derived`."""

from collections.abc import Callable

from mcore.export import ops
from mcore.export.algebra import flat, row, unit_norm
from mcore.export.builder import Tensor
from mcore.export.parts.base import Around
from mcore.layers.gates import CAP
from mcore.model.derived import Source


def held(x: Tensor, log_decay: Tensor, a_log: Tensor) -> Tensor:
    """`step x` with `step = log_decay / -exp(a_log)`."""
    return x * row(log_decay * -ops.exp(-a_log))


def removal(k: Tensor, weight: Tensor) -> Tensor:
    """`unit(k w)`; w (H, K)."""
    return unit_norm(k * weight)


def replacement(k: Tensor, a: Tensor, weight: Tensor) -> Tensor:
    """`k (1 + (a - 1) w)`."""
    return k * ((a - 1.0) * weight + 1.0)


def scaled(x: Tensor, weight: Tensor) -> Tensor:
    """`w_h x`; w (H, 1)."""
    return x * weight


def bonus(q: Tensor, k: Tensor, v: Tensor, weight: Tensor) -> Tensor:
    """`(sum of q k w) v`."""
    return v * ops.total_kept(q * k * weight, -1)


def capped(*arguments: Tensor) -> Tensor:
    """`15 tanh(z / 15)` with `z = sum_i x_i W_i + bias`, over the heads together."""
    count = len(arguments) // 2
    products = [ops.matmul(flat(arguments[i]), arguments[count + i]) for i in range(count)]
    return ops.tanh(sum(products, arguments[-1]) * (1 / CAP)) * CAP


MAKERS: dict[str, Callable[..., Tensor]] = {
    "held": held,
    "removal": removal,
    "replacement": replacement,
    "scaled": scaled,
    "bonus": bonus,
    "capped": capped,
}
"""As `mcore.model.derived.MAKERS`, over one token."""

PER_HEAD = ("removal", "replacement", "scaled", "bonus")
"""Laws whose weights (H K,) stand for channels of heads."""


def derived(source: Source, around: Around, inputs: dict[str, Tensor]) -> Tensor:
    """The input that `source` describes."""
    arguments = [inputs[name] for name in source.law.of]
    builder = arguments[0].builder
    for name in source.weights:
        if source.law.law in PER_HEAD:
            value = around.params[name].reshape(source.heads, -1)
            arguments.append(around.piece(builder, name, value))
        else:
            arguments.append(around.weight(builder, name))
    return MAKERS[source.law.law](*arguments)
