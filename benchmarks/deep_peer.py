"""Titans with cached memories in PyTorch, with autograd, in the two ways of `benchmarks.deep`."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from benchmarks.deep_problem import Problem

torch: Any = import_module("torch")


class State(NamedTuple):
    """A perceptron's matrices (G, K, E), (G, E, K) and their momenta (None: zero)."""

    w_in: Any
    w_out: Any
    s_in: Any
    s_out: Any


class Chunk(NamedTuple):
    """Tokens of one chunk: q, k, v (G, c, K); step, decay, momentum (G, c)."""

    q: Any
    k: Any
    v: Any
    step: Any
    decay: Any
    momentum: Any


Chunks = Callable[[Chunk, State], tuple[Any, State]]


def layer(x: dict[str, Any], problem: Problem, chunk_form: Chunks) -> Any:
    """y (B, T, H, K) of the whole layer, in PyTorch."""
    b, t, h, d = x["q"].shape
    c, segments = problem.segment, t // problem.segment
    names = ("q", "k", "v", "u", "step", "log_decay", "momentum")
    split = {n: x[n].transpose(1, 2).reshape(b * h, segments, c, *x[n].shape[3:]) for n in names}
    flat = {n: a.reshape(b * h * segments, c, *a.shape[3:]) for n, a in split.items()}
    w_in, w_out = (_spread(x[n], b, segments) for n in ("w_in", "w_out"))
    state = State(w_in, w_out, None, None)
    said, decay = [], flat["log_decay"].exp()
    tokens = (flat["q"], flat["k"], flat["v"], flat["step"], decay, flat["momentum"])
    for begin in range(0, c, problem.chunk):
        part = slice(begin, begin + problem.chunk)
        y, state = chunk_form(Chunk(*(a[:, part] for a in tokens)), state)
        said.append(y)
    online = torch.cat(said, 1).reshape(b * h, segments, c, d)
    cached = [w.reshape(b * h, segments, *w.shape[1:]) for w in (state.w_in, state.w_out)]
    y = _read(split["q"], online, cached, _gates(split["u"], split["k"]))
    return y.reshape(b, h, t, d).transpose(1, 2)


def _spread(w: Any, rows: int, segments: int) -> Any:
    """(H, ...) to (G, ...): every row and segment starts from it."""
    shape = (rows, w.shape[0], segments, *w.shape[1:])
    return w[None, :, None].expand(shape).reshape(-1, *w.shape[1:])


def _gates(u: Any, k: Any) -> Any:
    """(P, S, C, S + 1) softmax over the contexts of earlier segments and the online memory's."""
    _, segments, c, d = k.shape
    means = k.cumsum(2) / torch.arange(1, c + 1, dtype=k.dtype)[:, None]
    logits = torch.einsum("pscd,pid->psci", u, means[:, :, -1]) * d**-0.5
    past = torch.ones(segments, segments, dtype=torch.bool).tril(-1)[:, None]
    own = (u * means).sum(-1, keepdim=True) * d**-0.5
    return torch.cat([logits.masked_fill(~past, -torch.inf), own], -1).softmax(-1)


def _read(q: Any, online: Any, cached: list[Any], gates: Any) -> Any:
    """Each segment reads all earlier perceptrons at once."""
    y = [gates[:, 0, :, -1:] * online[:, 0]]
    for s in range(1, q.shape[1]):
        query, (w_in, w_out) = q[:, s, None], (w[:, :s] for w in cached)
        answers = query + torch.nn.functional.gelu(query @ w_in) @ w_out
        seen = torch.einsum("pci,picd->pcd", gates[:, s, :, :s], answers)
        y.append(seen + gates[:, s, :, -1:] * online[:, s])
    return torch.stack(y, 1)


def closed(x: Chunk, state: State) -> tuple[Any, State]:
    """All tokens of a chunk at once: inner gradients are rank one, memories sums of them."""
    h = x.k @ state.w_in
    phi = 0.5 * (1 + torch.erf(h * 0.5**0.5))
    a, slope = h * phi, phi + h * torch.exp(-0.5 * h * h) * (2 * np.pi) ** -0.5
    error = x.k + a @ state.w_out - x.v
    down = (error @ state.w_out.transpose(1, 2)) * slope
    made, moved = _coefficients(x)
    c, step = x.step.shape[1], x.step[:, None]
    pairs, since, lifted = made[:, :, :c] * step, made[:, :, c, None], made[:, :, c + 1, None]
    query = since * (x.q @ state.w_in) - (x.q @ x.k.transpose(1, 2) * pairs) @ down
    if state.s_in is not None:
        query = query + lifted * (x.q @ state.s_in)
    query = torch.nn.functional.gelu(query)
    y = x.q + since * (query @ state.w_out) - (query @ a.transpose(1, 2) * pairs) @ error
    if state.s_out is not None:
        y = y + lifted * (query @ state.s_out)
    ends = (since[:, -1:], lifted[:, -1:], moved[:, c + 1, None, None])
    strengths = (pairs[:, -1, :, None], (moved[:, :c] * x.step)[..., None])
    w_in, s_in = _written((state.w_in, state.s_in), ends, strengths, (x.k, down))
    w_out, s_out = _written((state.w_out, state.s_out), ends, strengths, (a, error))
    return y, State(w_in, w_out, s_in, s_out)


def _coefficients(x: Chunk) -> tuple[Any, Any]:
    """(G, c, c + 2) what each memory has of the inner gradients, of W and of S; the last S's."""
    unit, c = torch.eye(x.step.shape[1] + 2, dtype=x.step.dtype), x.step.shape[1]
    made, moved, rows = unit[c].expand(len(x.step), -1), unit[c + 1].expand(len(x.step), -1), []
    for t in range(c):
        moved = x.momentum[:, t, None] * moved + unit[t]
        made = x.decay[:, t, None] * made + moved
        rows.append(made)
    return torch.stack(rows, 1), moved


def _written(old: Any, ends: Any, strengths: Any, sides: Any) -> tuple[Any, Any]:
    """A matrix and its momentum after the chunk."""
    (w, s), (since, lifted, kept), (until, pushed) = old, ends, strengths
    left, right = sides[0].transpose(1, 2), sides[1]
    weights, momentum = since * w - left @ (until * right), -left @ (pushed * right)
    return (weights, momentum) if s is None else (weights + lifted * s, momentum + kept * s)


def per_token(x: Chunk, state: State) -> tuple[Any, State]:
    """`vmap(grad)` over tokens; momenta and weights of every token are arrays (G, c, ...)."""

    def loss(weights: tuple[Any, Any], k: Any, v: Any) -> Any:
        said = k + torch.nn.functional.gelu(k @ weights[0]) @ weights[1]
        return 0.5 * ((said - v) ** 2).sum()

    each = torch.func.vmap(torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0)))
    weights = [state.w_in, state.w_out]
    gradients = each((weights[0], weights[1]), x.k, x.v)
    given = (state.s_in, state.s_out)
    momenta = [torch.zeros_like(w) if s is None else s for w, s in zip(weights, given, strict=True)]
    written: list[list[Any]] = [[], []]
    for t in range(x.k.shape[1]):
        step, decay, momentum = (a[:, t, None, None] for a in (x.step, x.decay, x.momentum))
        for i in range(2):
            momenta[i] = momentum * momenta[i] - step * gradients[i][:, t]
            weights[i] = decay * weights[i] + momenta[i]
            written[i].append(weights[i])
    w_in, w_out = (torch.stack(w, 1) for w in written)
    y = x.q + (torch.nn.functional.gelu(x.q[:, :, None] @ w_in) @ w_out)[:, :, 0]
    return y, State(weights[0], weights[1], momenta[0], momenta[1])
