"""What the memory at each token of a block is made of, as numbers.

Inside a block all gradients are taken at one memory, so with G_j the gradient of token j

    S_t = m_t S_{t-1} - step_t G_t        M_t = a_t M_{t-1} + S_t

is linear in what comes in and in the G_j:  M_t = since_t M + lifted_t S - sum_j pairs_tj G_j. One
scan of rows of numbers gives all of it, for matrices of any size.
"""

from typing import Any, NamedTuple

from mcore.backends.numba_cpu.caching import device


class Coefficients(NamedTuple):
    """Of a block of n tokens.

    Attributes:
        weights: (n, n + 2) row t: what M_t has of each -step_j G_j, of M and of S.
        momenta: (n, n + 2) the same for S_t.
        pairs: (n, n) what M_t has of -G_j; zero above the diagonal.
        since, lifted: (n,) what M_t has of M, and of S.
        until, pushed: (n,) what the last M, and the last S, have of -G_j.
    """

    weights: Any
    momenta: Any
    pairs: Any
    since: Any
    lifted: Any
    until: Any
    pushed: Any


class CoefficientGradient(NamedTuple):
    """Gradients of the last five `Coefficients`; two rows (n + 2,) and one number of scratch."""

    pairs: Any
    since: Any
    lifted: Any
    until: Any
    pushed: Any
    row: Any
    moved: Any
    kept: Any


@device
def set_coefficients(tokens: Any, c: Any) -> None:
    """Fill `c` from the decay, momentum and step of the block's tokens."""
    n = c.since.shape[0]
    for t in range(n):
        _next_row(tokens.decay[t], tokens.momentum[t], t, c)
        c.since[t], c.lifted[t] = c.weights[t, n], c.weights[t, n + 1]
        for j in range(n):
            c.pairs[t, j] = c.weights[t, j] * tokens.step[j]
    for j in range(n):
        c.until[j] = c.pairs[n - 1, j]
        c.pushed[j] = c.momenta[n - 1, j] * tokens.step[j]


@device
def _next_row(decay: Any, momentum: Any, t: int, c: Any) -> None:
    """Row t of `weights` and `momenta`."""
    n = c.since.shape[0]
    if t == 0:
        for j in range(n + 2):
            c.weights[0, j] = c.momenta[0, j] = 0
        c.weights[0, n] = decay
        c.weights[0, n + 1] = c.momenta[0, n + 1] = momentum
    else:
        _decay_row(momentum, c.momenta[t - 1], c.momenta[t])
        _decay_row(decay, c.weights[t - 1], c.weights[t])
        for j in range(n + 2):
            c.weights[t, j] += c.momenta[t, j]
    c.momenta[t, t] += 1
    c.weights[t, t] += 1


@device
def _decay_row(factor: Any, source: Any, target: Any) -> None:
    for j in range(source.shape[0]):
        target[j] = factor * source[j]


@device
def clear_coefficients(d: Any) -> None:
    """Zeros, to add gradients to."""
    for t in range(d.since.shape[0]):
        d.since[t] = d.lifted[t] = d.until[t] = d.pushed[t] = 0
        for j in range(d.since.shape[0]):
            d.pairs[t, j] = 0
    d.kept[0] = 0


@device
def coefficients_backward(tokens: Any, c: Any, d: Any, out: Any) -> None:
    """Gradients of each token's step, log-decay and momentum; overwrites `d`.

    `d.kept` is the gradient of what the last S has of S.
    """
    n = c.since.shape[0]
    for j in range(n):
        d.pairs[n - 1, j] += d.until[j]
        out.step[j] = d.pushed[j] * c.momenta[n - 1, j]
        d.moved[j] = d.pushed[j] * tokens.step[j]
        d.row[j] = 0
    d.row[n] = d.row[n + 1] = d.moved[n] = 0
    d.moved[n + 1] = d.kept[0]
    for t in range(n - 1, -1, -1):
        for j in range(n):
            out.step[j] += d.pairs[t, j] * c.weights[t, j]
            d.row[j] += d.pairs[t, j] * tokens.step[j]
        d.row[n] += d.since[t]
        d.row[n + 1] += d.lifted[t]
        _row_backward(tokens, c, d, t, out)


@device
def _row_backward(tokens: Any, c: Any, d: Any, t: int, out: Any) -> None:
    """Through `_next_row`: `d.row` and `d.moved` go from row t to row t - 1."""
    n, decay, momentum = c.since.shape[0], tokens.decay[t], tokens.momentum[t]
    d_decay = d_momentum = d.row.dtype.type(0)
    for j in range(n + 2):
        d.moved[j] += d.row[j]
    if t == 0:
        d_decay, d_momentum = d.row[n], d.moved[n + 1]
    else:
        for j in range(n + 2):
            d_decay += d.row[j] * c.weights[t - 1, j]
            d_momentum += d.moved[j] * c.momenta[t - 1, j]
            d.row[j] *= decay
            d.moved[j] *= momentum
    out.log_decay[t] = decay * d_decay
    out.momentum[t] = d_momentum
