"""Titans with cached memories, forward and backward, against PyTorch on one thread.

    python -m benchmarks.deep

PyTorch computes the same numbers in two ways, both with autograd (checked before anything is
timed): `closed` is the chunk form that the kernels use, all segments as one batch of matrix
products; `per token` is `vmap(grad)` with the weights of every token written out, as public code
for Titans does it, for fewer tokens. Processor time, the best of several interleaved rounds, with
NumPy's large sgemm between them. Useful FLOPs per token and head, of a perceptron K x E, chunks of
c tokens, n checkpoints read on average:

    forward = 22 K E + 2 (c + 1) (K + E) + 4 K E n + 2 K (n + 1),  backward = 2 forward
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported

import argparse
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import mcore
from benchmarks.machine import blas, machine
from mcore.arrays import Array
from mcore.backend import get_backend
from mcore.bench.clock import sgemm_rate

RESULTS = Path(__file__).parent / "results"
torch: Any = import_module("torch")

CLOSE = 2e-4
"""Largest relative difference, in the norm of an array, that counts as the same numbers."""

HEAD = [
    "| chunk / segment / T | forward / backward ms | useful GFLOP/s | sgemm GFLOP/s | of sgemm "
    "| PyTorch | ms | mcore is |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
]


class Problem(NamedTuple):
    """A layer and its sizes."""

    chunk: int
    segment: int
    tokens: int
    rows: int
    heads: int
    width: int
    hidden: int

    @property
    def flops(self) -> float:
        """Useful FLOPs of forward and backward."""
        d, m, n = self.width, self.hidden, (self.tokens / self.segment - 1) / 2
        scan = 22 * d * m + 2 * (self.chunk + 1) * (d + m)
        return 3 * (scan + 4 * d * m * n + 2 * d * (n + 1)) * self.rows * self.heads * self.tokens

    def memory(self) -> mcore.Memory:
        """The layer on one thread, in float32."""
        rule = {"kind": "titans", "chunk": self.chunk}
        cut = {"kind": "constant", "length": self.segment}
        return mcore.memory(rule, cut, "grm", backend=get_backend("numba", 1))

    def inputs(self) -> dict[str, Array]:
        """Random inputs: unit queries and keys, steps that converge."""
        rng = np.random.default_rng(0)
        lead, heads, d, m = (
            (self.rows, self.tokens, self.heads),
            self.heads,
            self.width,
            self.hidden,
        )
        vectors = {name: rng.standard_normal((*lead, d)) for name in ("q", "k", "v", "u")}
        for name in ("q", "k"):
            vectors[name] /= np.linalg.norm(vectors[name], axis=-1, keepdims=True)
        numbers = {name: rng.random(lead) for name in ("step", "log_decay", "momentum")}
        numbers["step"] *= 2 / m
        numbers["log_decay"] *= -0.1
        weights = {
            "w_in": rng.standard_normal((heads, d, m)),
            "w_out": rng.standard_normal((heads, m, d)) * (d * m) ** -0.5,
        }
        every = {**vectors, **numbers, **weights}
        return {name: x.astype(np.float32) for name, x in every.items()}


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


class Peer:
    """A PyTorch form of a problem, forward and backward."""

    def __init__(self, problem: Problem, chunk_form: Chunks) -> None:
        self.problem, self.chunk_form = problem, chunk_form
        self.x = {n: torch.from_numpy(a).requires_grad_() for n, a in problem.inputs().items()}
        self.dy = torch.from_numpy(upstream(problem))

    def __call__(self) -> tuple[Any, dict[str, Any]]:
        """y, and the gradient of every input."""
        y = layer(self.x, self.problem, self.chunk_form)
        found = torch.autograd.grad(y, list(self.x.values()), self.dy)
        return y.detach().numpy(), dict(zip(self.x, (g.numpy() for g in found), strict=True))


class Ours:
    """A problem in the kernels."""

    def __init__(self, problem: Problem) -> None:
        self.memory, self.x, self.dy = problem.memory(), problem.inputs(), upstream(problem)

    def forward(self) -> tuple[Array, Any]:
        """y, and what backward needs."""
        return self.memory.forward(self.x)

    def backward(self, saved: Any) -> dict[str, Array]:
        """The gradient of every input."""
        return self.memory.backward(saved, self.dy)


def upstream(problem: Problem) -> Array:
    """The gradient with respect to y."""
    shape = (problem.rows, problem.tokens, problem.heads, problem.width)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def check(ours: Ours, peer: Peer) -> None:
    """Exit unless both compute the same numbers."""
    (y, saved), (peer_y, peer_gradients) = ours.forward(), peer()
    pairs = {"y": (y, peer_y)}
    pairs |= {n: (g, peer_gradients[n]) for n, g in ours.backward(saved).items()}
    for name, (got, want) in pairs.items():
        error = np.linalg.norm(got - want) / np.linalg.norm(want)
        if not error < CLOSE:
            raise SystemExit(f"{name}: differs by {error:.1e} from PyTorch's")


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of one call, and what it returned."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def measure(problem: Problem, chunk_form: Chunks, rounds: int) -> tuple[float, float, float, float]:
    """Best seconds of our forward, our backward and PyTorch's both, and the best sgemm rate."""
    ours, peer = Ours(problem), Peer(problem, chunk_form)
    check(ours, peer)
    times = []
    for _ in range(rounds):
        forward, (_, saved) = seconds(ours.forward)
        backward, _ = seconds(lambda saved=saved: ours.backward(saved))  # type: ignore[misc]
        times.append((forward, backward, seconds(peer)[0], 1 / sgemm_rate()))
    forward, backward, theirs, gemm = (min(column) for column in zip(*times, strict=True))
    return forward, backward, theirs, 1 / gemm


def line(problem: Problem, form: str, times: tuple[float, float, float, float]) -> str:
    """A row of the table."""
    forward, backward, theirs, sgemm = times
    rate = problem.flops / (forward + backward)
    cells = [
        f"{problem.chunk} / {problem.segment} / {problem.tokens}",
        f"{1e3 * forward:.0f} / {1e3 * backward:.0f}",
        f"{rate / 1e9:.0f}",
        f"{sgemm / 1e9:.0f}",
        f"{100 * rate / sgemm:.0f} %",
        form,
        f"{1e3 * theirs:.0f}",
        f"{theirs / (forward + backward):.1f}x",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure, print the table and write it to benchmarks/results/."""
    parser = argparse.ArgumentParser(description="Time Titans with cached memories.")
    sizes = {"rows": 2, "heads": 4, "width": 64, "hidden": 256, "tokens": 1024, "rounds": 5}
    for name, default in {**sizes, "per_token_tokens": 256}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = vars(parser.parse_args())
    tokens, short, rounds = (given.pop(n) for n in ("tokens", "per_token_tokens", "rounds"))
    torch.set_num_threads(1)
    lines = [f"One thread; {machine()}, PyTorch {torch.__version__}, OpenBLAS with {blas()}."]
    lines += ["", *HEAD]
    for chunk, segment in ((16, 64), (16, 128), (64, 64), (64, 128)):
        problem = Problem(chunk, segment, tokens, **given)
        lines.append(line(problem, "closed", measure(problem, closed, rounds)))
    problem = Problem(16, 64, short, **given)
    lines.append(line(problem, "per token", measure(problem, per_token, 2)))
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "deep.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
