"""Activations: sigmoid, SiLU, softplus. None overflows, whatever the argument."""

from mcore.arrays import Array, namespace

SiluSaved = tuple[Array, Array]


def sigmoid(x: Array) -> tuple[Array, Array]:
    """Logistic function, through tanh: it cannot overflow, and takes half the time of exp.

        y = 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2

    Shapes: x (...) -> y (...). The error is absolute, about one unit in the last place of 1.
    """
    y = namespace(x).tanh(x * 0.5)
    y *= 0.5
    y += 0.5
    return y, y


def sigmoid_backward(saved: Array, dy: Array) -> Array:
    """Gradient of `sigmoid`.

        dx = dy y (1 - y)

    Shapes: dy (...) -> dx (...).
    """
    dx = 1 - saved
    dx *= saved
    dx *= dy
    return dx


def silu(x: Array) -> tuple[Array, SiluSaved]:
    """SiLU, or swish (Elfwing et al. 2018).

        y = x sigmoid(x)

    Shapes: x (...) -> y (...).
    """
    gate, _ = sigmoid(x)
    y = x * gate
    return y, (y, gate)


def silu_backward(saved: SiluSaved, dy: Array) -> Array:
    """Gradient of `silu`.

        dx = dy (s + y (1 - s)),   s = sigmoid(x)

    Shapes: dy (...) -> dx (...).
    """
    dx = silu_slope(*saved)
    dx *= dy
    return dx


def silu_slope(y: Array, gate: Array) -> Array:
    """Derivative of SiLU from its value y and gate = sigmoid(x): gate + y (1 - gate)."""
    slope = 1 - gate
    slope *= y
    slope += gate
    return slope


def softplus(x: Array) -> tuple[Array, Array]:
    """Smooth positive part.

        y = log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))

    Shapes: x (...) -> y (...).
    """
    xp = namespace(x)
    y = xp.log1p(xp.exp(-xp.abs(x)))
    y += xp.maximum(x, 0)
    return y, x


def softplus_backward(saved: Array, dy: Array) -> Array:
    """Gradient of `softplus`.

        dx = dy sigmoid(x)

    Shapes: dy (...) -> dx (...).
    """
    slope, _ = sigmoid(saved)
    slope *= dy
    return slope
