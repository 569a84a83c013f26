"""Forward and backward of a memory, put together from pieces, a token at a time.

Backward runs forward once more and walks back over its states: nothing is handed from one call to
the other, so that a kernel is two plain functions of arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from planted.pieces import Array, Borders, Inputs, Mixing, Routing, Rule, Span, State, Token, plus
from planted.pieces import zeros as zeros_like


@dataclass(frozen=True)
class Kernel:
    """A composition, and the pieces that compute it.

    Attributes:
        recurrence, readout, start: the axes of the memory that this is a kernel of.
        routing: None where gates do not depend on content.
    """

    recurrence: Any
    readout: Any
    start: str
    rule: Rule
    borders: Borders
    mixing: Mixing
    routing: Routing | None = None

    def forward(self, inputs: Inputs, lengths: Sequence[int]) -> Array:
        """y (B, T, H, V)."""
        return _run(self, inputs, lengths).y

    def backward(self, inputs: Inputs, lengths: Sequence[int], dy: Array) -> Inputs:
        """The gradient of every input."""
        return _walk_back(self, inputs, _run(self, inputs, lengths), dy)

    def with_piece(self, piece: str, function: Any) -> "Kernel":
        """The kernel with one piece replaced, named as in `routing.pool`."""
        group, name = piece.split(".")
        return replace(self, **{group: replace(getattr(self, group), **{name: function})})


@dataclass
class _Run:
    """What forward went through, token by token and segment by segment."""

    y: Array
    spans: list[Span]
    before: list[State] = field(default_factory=list)
    after: list[State] = field(default_factory=list)
    checkpoints: list[State] = field(default_factory=list)
    pooled: list[Array] = field(default_factory=list)
    gates: list[Array] = field(default_factory=list)


def token(kernel: Kernel, inputs: Inputs, t: int, span: Span) -> Token:
    """The entries of token t (B, H, ...), the parameters, and its place in the segment."""
    begin, stop = span
    x = {name: x if _is_parameter(kernel, name) else x[:, t] for name, x in inputs.items()}
    return {**x, "position": t - begin, "left": stop - 1 - t}


def _is_parameter(kernel: Kernel, name: str) -> bool:
    return name in kernel.rule.parameters or name.startswith("gate_")


def _run(kernel: Kernel, inputs: Inputs, lengths: Sequence[int]) -> _Run:
    spans = kernel.borders.cut(lengths)
    run = _Run(kernel.mixing.blank(inputs), spans)
    initial = kernel.rule.initial(inputs)
    end: State | None = None
    for segment, (begin, stop) in enumerate(spans):
        state = kernel.borders.start(initial, end, token(kernel, inputs, begin, (begin, stop)))
        for t in range(begin, stop):
            run.before.append(state)
            state = kernel.rule.step(state, token(kernel, inputs, t, (begin, stop)))
            run.after.append(state)
        end = state
        run.checkpoints.append(kernel.borders.keep(run.after[begin:stop]))
        if kernel.routing:
            run.pooled.append(kernel.routing.pool(inputs["k"][:, begin:stop]))
        for t in range(begin, stop):
            x = token(kernel, inputs, t, (begin, stop))
            run.gates.append(_weigh(kernel, inputs, run, segment, t))
            memories = _memories(kernel, run, segment, t)
            run.y[:, t] = kernel.mixing.mix(kernel.rule, memories, run.gates[t], x)
    return run


def _memories(kernel: Kernel, run: _Run, segment: int, t: int) -> list[State]:
    """The checkpoints that token t sees, and the online memory."""
    return [run.checkpoints[i] for i in kernel.borders.visible(segment)] + [run.after[t]]


def _contexts(kernel: Kernel, run: _Run, segment: int, t: int) -> Array:
    """Contexts (B, N, H, K) of the memories of token t."""
    cached = [run.pooled[i][:, -1] for i in kernel.borders.visible(segment)]
    return np.stack([*cached, run.pooled[segment][:, t - run.spans[segment][0]]], axis=1)


def _weigh(kernel: Kernel, inputs: Inputs, run: _Run, segment: int, t: int) -> Array:
    """Gates (B, H, N) of the memories of token t."""
    if kernel.routing is None:
        share = kernel.mixing.share(len(kernel.borders.visible(segment)) + 1)
        return np.broadcast_to(share.astype(run.y.dtype), (*run.y[:, t].shape[:2], len(share)))
    u = kernel.routing.ask(inputs["u"], t)
    logits = kernel.routing.score(u, _contexts(kernel, run, segment, t))
    return kernel.routing.normalise(logits, kernel.routing.choose(logits))


def _walk_back(kernel: Kernel, inputs: Inputs, run: _Run, dy: Array) -> Inputs:
    grads = {name: np.zeros_like(x) for name, x in inputs.items()}
    initial = kernel.rule.initial(inputs)
    d_initial, d_end = zeros_like(initial), zeros_like(initial)
    d_checkpoints = [zeros_like(c) for c in run.checkpoints]
    d_pooled = [np.zeros_like(p) for p in run.pooled]
    for segment, (begin, stop) in reversed(list(enumerate(run.spans))):
        d_state = kernel.borders.enter(d_end, d_checkpoints[segment])
        for t in kernel.borders.walk(begin, stop):
            x = token(kernel, inputs, t, (begin, stop))
            memories = _memories(kernel, run, segment, t)
            d_memories, d_gates, d_x = kernel.mixing.mix_backward(
                kernel.rule, memories, run.gates[t], x, dy[:, t]
            )
            _add_token(kernel, grads, d_x, t)
            for i, d_memory in zip(kernel.borders.visible(segment), d_memories, strict=False):
                d_checkpoints[i] = plus(d_checkpoints[i], d_memory)
            _weigh_back(kernel, inputs, run, (segment, t), d_gates, (grads, d_pooled))
            d_state, d_x = kernel.rule.step_backward(
                run.before[t], x, plus(d_state, d_memories[-1])
            )
            _add_token(kernel, grads, d_x, t)
        d_first, d_end = kernel.borders.start_backward(d_state)
        d_initial = plus(d_initial, d_first)
        if kernel.routing:
            grads["k"][:, begin:stop] += kernel.routing.pool_backward(d_pooled[segment])
    for name, gradient in kernel.rule.initial_backward(inputs, plus(d_initial, d_end)).items():
        grads[name] += gradient
    return grads


def _add_token(kernel: Kernel, grads: Inputs, d_token: Inputs, t: int) -> None:
    for name, gradient in d_token.items():
        if _is_parameter(kernel, name):
            grads[name] += gradient
        else:
            grads[name][:, t] += gradient


def _weigh_back(
    kernel: Kernel,
    inputs: Inputs,
    run: _Run,
    place: tuple[int, int],
    d_gates: Array,
    into: tuple[Inputs, list[Array]],
) -> None:
    """Adds the gradients of u and of the contexts."""
    segment, t = place
    grads, d_pooled = into
    if kernel.routing is None:
        return
    d_logits = kernel.routing.normalise_backward(run.gates[t], d_gates)
    contexts = _contexts(kernel, run, segment, t)
    du, d_contexts = kernel.routing.score_backward(
        kernel.routing.ask(inputs["u"], t), contexts, d_logits
    )
    grads["u"][:, t] += du
    for j, i in enumerate(kernel.borders.visible(segment)):
        d_pooled[i][:, -1] += d_contexts[:, j]
    d_pooled[segment][:, t - run.spans[segment][0]] += d_contexts[:, -1]
