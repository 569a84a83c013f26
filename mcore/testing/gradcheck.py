"""Is a hand-written backward the derivative of its forward?

    check_pair(linear, linear_backward, {"x": x, "weight": weight})       # a pair of functions
    check_inputs(memory.forward, memory.backward, inputs)                 # a pair over a dict

Every argument is moved along random directions v, and the change of a random projection of the
outputs, <c, f>, is compared with what backward says about it (central differences):

    (<c, f(x + h v)> - <c, f(x - h v)>) / 2h  =  <backward(c), v>

That takes two forwards per direction, however large the argument. Use float64: in float32 the
differences are mostly rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mcore.arrays import Array, namespace

Forward = Callable[..., tuple[Any, Any]]
Backward = Callable[..., Any]
Inputs = Mapping[str, Any]

DIRECTIONS = 2


def check_pair(
    forward: Forward,
    backward: Backward,
    arguments: Inputs,
    tolerance: float = 1e-6,
    step: float = 1e-6,
    seed: int = 0,
) -> dict[str, float]:
    """Check `forward(*arguments) -> (output, saved)` against its backward.

    `backward(saved, d_output)` returns the gradients of the floating-point arrays among the
    arguments, in their order; a single gradient may come bare. Integer arrays and plain numbers
    are handed on and not differentiated. See `check_inputs` for the rest.

    Args:
        arguments: in the order of forward's signature; the names serve the error messages.
    """
    names = [name for name, value in arguments.items() if _is_float(value)]

    def forward_dict(inputs: Inputs) -> tuple[Any, Any]:
        return forward(*inputs.values())

    def backward_dict(saved: Any, *d_outputs: Array) -> Inputs:
        gradients = backward(saved, *d_outputs)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        return dict(zip(names, gradients, strict=True))

    return check_inputs(forward_dict, backward_dict, arguments, tolerance, step, seed)


def check_inputs(
    forward: Forward,
    backward: Backward,
    inputs: Inputs,
    tolerance: float = 1e-6,
    step: float = 1e-6,
    seed: int = 0,
) -> dict[str, float]:
    """Check `forward(inputs) -> (output, saved)`, whose inputs are a dict, against its backward.

    `backward(saved, d_output)` returns a mapping with a gradient for every floating-point array of
    `inputs`. Where forward returns a tuple of outputs, backward gets as many gradients:
    `backward(saved, d_first, d_second)`.

    Args:
        tolerance: largest relative error allowed.
        step: h above, relative to the root mean square of the argument where that exceeds 1.
        seed: of the directions and projections.

    Returns:
        The largest relative error of every argument: the difference of both sides, over the
        norm of the gradient or the size of the difference quotient, whichever is larger.

    Raises:
        AssertionError: a gradient is missing, has another shape, is not finite or is wrong, or
            forward or backward wrote to an input; the message names the input.
    """
    rng = np.random.default_rng(seed)
    given = {name: _copy(value) for name, value in inputs.items()}
    outputs, saved = forward(given)
    weights = [_normal_like(rng, output) for output in _as_tuple(outputs)]
    gradients = backward(saved, *map(_copy, weights))
    for name, value in inputs.items():
        _check_unchanged(name, value, given[name])

    def slope(name: str, v: Array, h: float) -> float:
        there, _ = forward({**inputs, name: inputs[name] + h * v})
        back, _ = forward({**inputs, name: inputs[name] - h * v})
        return (_project(weights, there) - _project(weights, back)) / (2 * h)

    checked = {
        name: _gradient(name, value, gradients)
        for name, value in inputs.items()
        if _is_float(value)
    }
    noise = _rounding(weights, outputs)
    errors = {}
    for name, gradient in checked.items():
        h = step * max(1.0, _root_mean_square(inputs[name]))
        directions = [_normal_like(rng, gradient) for _ in range(DIRECTIONS)]
        slopes = np.array([slope(name, v, h) for v in directions])
        claims = np.array([_dot(gradient, v) for v in directions])
        scale = max(_dot(gradient, gradient) ** 0.5, noise / h / tolerance)
        errors[name] = _compare(name, slopes, claims, scale, tolerance)
    return errors


def _compare(name: str, slopes: Array, claims: Array, scale: float, tolerance: float) -> float:
    """The largest error relative to `scale`, or to the slopes themselves where they are larger."""
    scale = max(scale, float(np.abs(slopes).max()))
    error = float(np.abs(slopes - claims).max()) / scale if scale else 0.0
    if not error <= tolerance:
        pairs = ", ".join(f"{c:.9g} / {s:.9g}" for c, s in zip(claims, slopes, strict=True))
        raise AssertionError(
            f"gradient of {name}: relative error {error:.2e}, allowed {tolerance:.0e}; "
            f"backward / central difference: {pairs}"
        )
    return error


def _gradient(name: str, value: Array, gradients: Inputs) -> Array:
    """The gradient that backward returned for `name`, if it can be one."""
    if name not in gradients:
        raise AssertionError(f"gradient of {name}: backward returned none, only {list(gradients)}")
    gradient: Array = gradients[name]
    if gradient.shape != value.shape:
        raise AssertionError(
            f"gradient of {name}: shape {gradient.shape}, the input has {value.shape}"
        )
    if not bool(namespace(gradient).isfinite(gradient).all()):
        raise AssertionError(f"gradient of {name}: not finite")
    return gradient


def _check_unchanged(name: str, before: Any, after: Any) -> None:
    if hasattr(before, "dtype") and not bool((before == after).all()):
        raise AssertionError(f"{name}: forward or backward wrote to its input")


def _rounding(weights: Sequence[Array], outputs: Any) -> float:
    """About how far rounding in the outputs moves their projection: 8 units in the last place."""
    terms = [w * output for w, output in zip(weights, _as_tuple(outputs), strict=True)]
    norm = sum(_dot(term, term) for term in terms) ** 0.5
    return float(8 * np.finfo(weights[0].dtype).eps * norm)


def _project(weights: Sequence[Array], outputs: Any) -> float:
    return sum(_dot(w, output) for w, output in zip(weights, _as_tuple(outputs), strict=True))


def _dot(a: Array, b: Array) -> float:
    return float((a * b).sum(dtype="float64"))


def _root_mean_square(x: Array) -> float:
    return float((_dot(x, x) / max(x.size, 1)) ** 0.5)


def _normal_like(rng: np.random.Generator, x: Array) -> Array:
    """Normal numbers in the shape, dtype and library of `x`."""
    drawn: Array = namespace(x).asarray(rng.standard_normal(x.shape), dtype=x.dtype)
    return drawn


def _copy(value: Any) -> Any:
    return value.copy() if hasattr(value, "dtype") else value


def _is_float(value: Any) -> bool:
    return hasattr(value, "dtype") and value.dtype.kind == "f"


def _as_tuple(outputs: Any) -> tuple[Array, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
