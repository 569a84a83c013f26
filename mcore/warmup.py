"""Compile every kernel that a spec needs, before it is needed.

Kernels are compiled for types and numbers of axes, never for sizes. So small arrays will do: each
part of the network runs forward and backward, then the whole of it takes a training step and feeds
a stream. What was compiled is on disk afterwards, and training starts at once.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from mcore.arrays import Array, namespace
from mcore.layers.product import in_dtype, real_of
from mcore.model import Model
from mcore.model.part import scoped
from mcore.spec import Spec
from mcore.spec.compile import compile as compile_model
from mcore.spec.plan import describe
from mcore.training.sample import optimizer_of, sample
from mcore.training.step import take_step

TOKENS = 128
"""Tokens of a row at most, unless the spec lists lengths that add up to more."""


class Kernel(Protocol):
    """A compiled kernel: what it is called, the types it is for, the seconds it took."""

    name: str
    types: str
    seconds: float


class Compiler(Protocol):
    """What a backend that compiles has as `compiler`."""

    @property
    def folder(self) -> Path:
        """Where compiled kernels are kept."""

    def watch(self) -> AbstractContextManager[list[Any]]:
        """A list that grows by each `Kernel` that is compiled meanwhile."""


class Warmed(NamedTuple):
    """A part that is warm: its seconds, and the kernels that had to be compiled."""

    name: str
    seconds: float
    kernels: list[Kernel]


class Job(NamedTuple):
    """Something to run once: what it is in words, and how."""

    name: str
    run: Callable[[], object]


def compiler_of(model: Model) -> Compiler | None:
    """The compiler of a model's backend; None if nothing is compiled."""
    return getattr(model.backend, "compiler", None)


def watching(model: Model) -> AbstractContextManager[list[Any]]:
    """A list of the kernels compiled meanwhile; empty if nothing ever is."""
    compiler = compiler_of(model)
    return compiler.watch() if compiler else nullcontext([])


def warm(model: Model, job: Job) -> Warmed:
    """Run one job, and say what it compiled."""
    start = time.perf_counter()
    with watching(model) as kernels:
        job.run()
    return Warmed(job.name, time.perf_counter() - start, kernels)


def jobs(model: Model) -> list[Job]:
    """All that a model's training and streams can need, each kind of part once.

    The jobs change the model's parameters: give them one of their own.
    """
    once = {describe(part): name for name, part in reversed(model.layout.parts.items())}
    parts = [
        Job(f"{name}: {words}", _both_ways(model, name)) for words, name in reversed(once.items())
    ]
    found = [*parts, Job("training step", lambda: _train(model))]
    return [*found, Job("stream", lambda: _stream(model))] if streams(model) else found


def fresh(spec: Spec) -> Model:
    """A model for `jobs` alone."""
    return compile_model(spec)


def _sizes(model: Model) -> tuple[int, int]:
    """Rows, so that each thread has two, and tokens. Listed cuts need the rows and the tokens
    that they were written for."""
    spec = model.spec
    lists = [axes.segmentation.kind == "given" for axes in spec.memories() if axes]
    if any(lists):
        return spec.train.batch, spec.data.length
    return 2 * model.workers.count, min(TOKENS, spec.data.length)


def _both_ways(model: Model, name: str) -> Callable[[], object]:
    part, (rows, length) = model.layout.parts[name], _sizes(model)
    x = np.random.default_rng(0).standard_normal((rows, length, model.layout.width))

    def run() -> None:
        y, saved = part.forward(scoped(model.params, name), _typed(x, model), {})
        part.backward(saved, namespace(y).ones_like(y))

    return run


def _typed(x: Array, model: Model) -> Array:
    """Numbers as they go from part to part, where the model computes."""
    there: Array = model.backend.xp.asarray(x.astype(real_of(model.dtype)))
    return in_dtype(there, model.dtype)


def _train(model: Model) -> None:
    optimizer = optimizer_of(model)
    for step, batch in enumerate(sample(model, *_sizes(model)), 1):
        take_step(step, batch, model, optimizer, model.spec.train)


def streams(model: Model) -> bool:
    """Whether tokens can be fed one by one."""
    axes = [axes.segmentation.kind for axes in model.spec.memories() if axes]
    return not {"logarithmic", "given"} & set(axes)


def _stream(model: Model) -> None:
    session, tokens = model.session(), _zeros(model)
    for piece in (tokens, tokens[:1], tokens[:3]):
        session.feed(piece)


def _zeros(model: Model) -> Array:
    """A stream of TOKENS tokens."""
    if model.channels is None:
        return np.zeros(TOKENS, np.int64)
    return np.zeros((TOKENS, model.channels))
