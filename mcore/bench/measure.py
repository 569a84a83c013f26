"""What a spec costs on this machine: its memory layers, a training step, a token of a stream."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mcore.bench.clock import Effort, interleave
from mcore.bench.step import StepTime, step_time
from mcore.data import make_task
from mcore.errors import BackendError
from mcore.model import Model
from mcore.model.memory_mixer import MemoryMixer
from mcore.model.parallel import Parallel
from mcore.model.part import Params, scoped
from mcore.spec import Spec
from mcore.spec.compile import compile as compile_model
from mcore.threads import blas_threads
from mcore.training.truncate import Rows


class LayerTime(NamedTuple):
    """A memory layer without its projections.

    Attributes:
        name: where the network has it.
        what: the composition.
        forward, backward: seconds.
        flops: useful FLOPs of forward and backward, as `mcore plan` counts them.
        sgemm: FLOP/s of this machine's large product, in between.
    """

    name: str
    what: str
    forward: float
    backward: float
    flops: float
    sgemm: float


@dataclass(frozen=True)
class Measured:
    """A spec on this machine.

    Attributes:
        name: of the spec.
        rows, tokens: of a batch.
        threads: that everything ran on.
        layers: the kinds of memory layers.
        step: the training step.
    """

    name: str
    rows: int
    tokens: int
    threads: int
    layers: list[LayerTime]
    step: StepTime


def measure(name: str, spec: Spec, effort: Effort) -> Measured:
    """Build a model, run everything once, and time it.

    Raises:
        DataError: the task's files are missing.
        BackendError: the backend computes on a device, whose time the processor's is not.
    """
    model = compile_model(spec, threads=effort.threads)
    if hasattr(model.backend, "room"):
        raise BackendError(
            f"bench: times the processor, and {model.backend.name} leaves the work to a device; "
            "--set backend=numba, or python -m benchmarks gpu in a checkout, would do"
        )
    data, train = spec.data, spec.train
    batch = Rows(make_task(data, train.batch, train.seed), data.length, train.truncate).batch(1)
    layers = [_layer(found, batch.tokens.shape[:2], effort) for found in _mixers(model)]
    rows, tokens = batch.tokens.shape[:2]
    return Measured(name, rows, tokens, effort.threads, layers, step_time(model, batch, effort))


class _Found(NamedTuple):
    name: str
    mixer: MemoryMixer
    params: Params


def _mixers(model: Model) -> Iterator[_Found]:
    """The first of each kind of memory layer, with its parameters."""
    seen = set()
    for name, part in model.layout.parts.items():
        core, params = part.part, scoped(model.params, name)
        if isinstance(core, Parallel) and "memory" in core.parts:
            core, params = core.parts["memory"], scoped(params, "memory")
        if isinstance(core, MemoryMixer) and core.memory.origin not in seen:
            seen.add(core.memory.origin)
            yield _Found(name, core, params)


def _layer(found: _Found, shape: tuple[int, ...], effort: Effort) -> LayerTime:
    name, mixer, params = found
    rows, tokens = shape
    memory, rng = mixer.memory, np.random.default_rng(0)
    x = rng.standard_normal((rows, tokens, mixer.sizes.width)).astype(memory.dtype)
    made, _ = mixer.projection.forward(params, x, {})
    inputs = {key: made[key] for key in memory.inputs}
    y, saved = memory.forward(inputs)
    dy = rng.standard_normal(y.shape).astype(memory.dtype)
    calls: dict[str, Callable[[], object]] = {
        "forward": lambda: memory.forward(inputs),
        "backward": lambda: memory.backward(saved, dy),
    }
    with blas_threads(effort.threads):
        calls["backward"]()
        seconds, sgemm = interleave(calls, effort)
    flops = 3 * mixer.cost.flops(tokens) * mixer.sizes.heads * rows * tokens
    what = f"{memory.rule.kind} x {memory.segmentation.kind} x {memory.readout.kind}"
    return LayerTime(name, what, seconds["forward"], seconds["backward"], flops, sgemm)
