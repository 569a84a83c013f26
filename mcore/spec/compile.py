"""From a spec to a model: the only place that turns names into objects.

After this, nothing looks at a string of the spec again.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np

from mcore.backend import Backend, get_backend
from mcore.compose import memory
from mcore.errors import Problem, SpecError
from mcore.layers.dense import Dense, dense_of
from mcore.layers.product import HALF, real_of
from mcore.machine import beyond
from mcore.memory_layer import Memory
from mcore.model.attention_mixer import AttentionMixer
from mcore.model.block import Mlp, Residual
from mcore.model.ends import Ends
from mcore.model.layout import Layout
from mcore.model.memory_mixer import MemoryMixer
from mcore.model.network import Model
from mcore.model.parallel import Join, Parallel
from mcore.model.part import Part
from mcore.model.series_ends import SeriesEnds
from mcore.model.series_heads import Classes, Values
from mcore.model.sizes import Sizes
from mcore.model.token_ends import TokenEnds
from mcore.spec.load import load_spec
from mcore.spec.schema import BlockSpec, MemorySpec, SeriesSpec, Spec

INIT_STREAM = 7
"""Keeps the parameters' random numbers apart from those of the data."""


def compile(
    spec: Spec | Mapping[str, Any],
    *,
    backend: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
) -> Model:
    """A model with freshly drawn parameters: a pure function of the spec and its seed.

    Args:
        spec: from `load_spec`, or a dict.
        backend, dtype, threads: instead of the spec's.

    Raises:
        SpecError: the spec is wrong, its dtype is not one of the backend's, or it is of a model
            that this machine has no memory for.
        BackendError: the backend is not installed.
    """
    spec = spec if isinstance(spec, Spec) else load_spec(spec)
    chosen = backend_of(spec, backend, threads)
    dtype = dtype or spec.dtype
    check_dtype(dtype, chosen)
    layout = layout_of(spec, chosen, dtype)
    _check_size(layout, real_of(dtype), chosen)
    rng = np.random.default_rng([spec.train.seed, INIT_STREAM])
    return Model(spec, layout, layout.init(rng, real_of(dtype)), chosen, dtype)


def backend_of(spec: Spec, kind: str | None = None, threads: int | None = None) -> Backend:
    """The backend that a spec names, or another one instead; on the spec's GPU if it has one.

    Raises:
        BackendError: it is not installed, or cannot run here; says what would do.
    """
    named = spec.backend
    same = kind in (None, named.kind)
    device, products = (named.device, named.products) if same else (None, None)
    return get_backend(kind or named.kind, threads or named.threads, device, products)


def check_dtype(dtype: str, backend: Backend) -> None:
    """Raise SpecError unless the backend computes with numbers of this dtype."""
    able: tuple[str, ...] = getattr(backend, "dtypes", ("float32", "float64"))
    if dtype not in able:
        remedy = "; backend: cupy has it" if dtype == HALF else ""
        message = f"{backend.name} has no {dtype}; {' or '.join(able)} would do{remedy}"
        raise SpecError([Problem("", "dtype", message)])


def device_bytes(backend: Backend) -> int | None:
    """All memory of the backend's device; None where it computes on the host."""
    room: Callable[[], tuple[int, int]] | None = getattr(backend, "room", None)
    return None if room is None else room()[1]


def layout_of(spec: Spec, backend: Backend, dtype: str) -> Layout:
    """The parts that a spec describes, without parameters."""
    model = spec.model
    sizes = Sizes(
        width=model.width,
        heads=model.heads,
        key=model.key_width,
        value=model.value_width,
        conv=model.conv,
        hidden=round_up(model.mlp * model.width),
        output_gate=model.output_gate,
        rope=model.rope,
    )
    gain, dense = (2 * model.depth) ** -0.5, dense_of(backend)
    parts: dict[str, Residual] = {}
    for index, (block, axes) in enumerate(
        zip(model.resolved_blocks(), spec.memories(), strict=True)
    ):
        core = None if axes is None else memory_of(axes, backend, real_of(dtype))
        mixer = _mixer(block, core, _Around(backend, sizes, gain))
        parts[f"blocks.{index}.mixer"] = Residual(mixer, sizes.width, dense)
        if sizes.hidden:
            mlp = Mlp(sizes.width, sizes.hidden, gain, dense)
            parts[f"blocks.{index}.mlp"] = Residual(mlp, sizes.width, dense)
    return Layout(parts, ends_of(spec, dense))


def ends_of(spec: Spec, dense: Dense) -> Ends:
    """What a spec's data put before and after the blocks."""
    data, width = spec.data, spec.model.width
    if not isinstance(data, SeriesSpec):
        return TokenEnds(width, data.vocab, spec.model.tied, dense)
    if data.head == "classify":
        return SeriesEnds(width, len(data.columns), Classes(data.outputs), data.pool == "mean")
    pool = data.head == "regress" and data.pool == "mean"
    head = Values(data.outputs, data.loss, data.anchors)
    return SeriesEnds(width, len(data.columns), head, pool)


def memory_of(axes: MemorySpec, backend: Backend, dtype: str) -> Memory:
    """The composition that a memory section names."""
    return memory(
        axes.recurrence.model_dump(exclude_none=True),
        axes.segmentation.model_dump(exclude_none=True),
        axes.readout.model_dump(exclude_none=True),
        start=axes.start,
        cache=axes.cache.model_dump(exclude_none=True),
        backend=backend,
        dtype=dtype,
    )


def _check_size(layout: Layout, dtype: str, backend: Backend) -> None:
    """Raise SpecError when the parameters alone are more than there is memory for."""
    numbers = sum(prod(shape) for shape in layout.shapes().values())
    if too_much := beyond(numbers * np.dtype(dtype).itemsize, device_bytes(backend)):
        message = f"its {numbers:,} parameters take {too_much}"
        smaller = "a smaller model.width, model.depth, model.mlp or data.vocab would do"
        raise SpecError([Problem("", "model", f"{message}; {smaller}")])


def round_up(hidden: float) -> int:
    """The next multiple of 8: vectors without a remainder."""
    return int(-(-hidden // 8) * 8)


class _Around(NamedTuple):
    backend: Backend
    sizes: Sizes
    gain: float


def _mixer(block: BlockSpec, core: Memory | None, around: _Around) -> Part:
    backend, sizes, gain = around
    parts: dict[str, Part] = {}
    if core is not None:
        parts["memory"] = MemoryMixer(core, sizes, gain)
    if block.mixer != "memory":
        parts["attention"] = AttentionMixer(backend, sizes, block.window, gain)
    if len(parts) == 1:
        return next(iter(parts.values()))
    return Parallel(parts, Join(sizes.width) if block.join == "gate" else None)
