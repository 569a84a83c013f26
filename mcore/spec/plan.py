"""What a spec costs before anything runs: layers, parameters, FLOPs, bytes, and the O(N L) dial."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from mcore.backend import Backend
from mcore.layers.product import real_of
from mcore.machine import amount
from mcore.model.block import Residual
from mcore.model.footprint import footprint
from mcore.model.layout import Layout
from mcore.model.memory_mixer import MemoryMixer
from mcore.model.parallel import Parallel
from mcore.model.room import sentence, told
from mcore.segmentation import Constant
from mcore.spec.compile import backend_of, check_dtype, device_bytes, layout_of
from mcore.spec.load import load_spec
from mcore.spec.plan_cache import cache_lines
from mcore.spec.plan_row import PlanRow, first_row, last_row
from mcore.spec.schema import MemorySpec, Spec

DIAL = (1, 2, 4, 8, 16, 32, 64, 128)
"""Numbers of segments that the plan shows."""


@dataclass(frozen=True)
class DialRow:
    """The same memory cut into `segments` segments of `length` tokens."""

    segments: int
    length: int
    flops: float
    state_bytes: int


@dataclass(frozen=True)
class Plan:
    """Printable; `str(plan)` is what `mcore plan` shows. FLOPs are per token, forward.

    Attributes:
        tokens: length of the sequences.
        rows: one per part, embedding and head included.
        dial: cost as the number of segments varies.
        caches: what each kind of cache holds, and its cap.
        forms: the exact form that each operation takes, and which run in the plain reference.
        notes: what may not be meant.
        shapes: shapes of all parameters.
        device: what a training step takes of a device's memory; empty on the host.
    """

    tokens: int
    rows: list[PlanRow]
    dial: list[DialRow]
    caches: list[str]
    forms: list[str]
    notes: list[str]
    shapes: dict[str, tuple[int, ...]]
    device: str = ""

    @property
    def parameters(self) -> int:
        """Number of trained numbers."""
        return sum(prod(shape) for shape in self.shapes.values())

    @property
    def flops(self) -> float:
        """Forward FLOPs per token; a training step costs three times as much."""
        return sum(row.flops for row in self.rows)

    @property
    def state_bytes(self) -> int:
        """What one stream carries after `tokens` tokens."""
        return sum(row.state_bytes for row in self.rows)

    def __str__(self) -> str:
        from mcore.spec.plan_text import plan_text

        return plan_text(self)


def plan(spec: Spec | Mapping[str, Any]) -> Plan:
    """The plan of a spec: costs are computed from shapes, no parameter is allocated.

    Raises:
        SpecError: the spec is wrong.
        BackendError: the backend is not installed.
    """
    spec = spec if isinstance(spec, Spec) else load_spec(spec)
    backend = backend_of(spec)
    check_dtype(spec.dtype, backend)
    layout = layout_of(spec, backend, spec.dtype)
    tokens, itemsize = spec.data.length, np.dtype(real_of(spec.dtype)).itemsize
    rows = [first_row(layout.ends)]
    rows += [_row(name, part, tokens, itemsize) for name, part in layout.parts.items()]
    rows.append(last_row(layout.ends, itemsize))
    return Plan(
        tokens=tokens,
        rows=rows,
        dial=_dial(layout, tokens, itemsize),
        caches=cache_lines(layout, itemsize),
        forms=_forms(layout, backend),
        notes=sorted({note for axes in spec.memories() if axes for note in _notes(axes)}),
        shapes=layout.shapes(),
        device=_device(spec, layout, backend),
    )


def _device(spec: Spec, layout: Layout, backend: Backend) -> str:
    """Bytes of a training step on a device, and whether they fit."""
    if (there := device_bytes(backend)) is None:
        return ""
    rows, tokens = spec.train.batch, spec.train.truncate or spec.data.length
    need = footprint(layout, tokens, spec.dtype)
    if need.size(rows) > there:
        return f"the device has {amount(there)}, and {sentence(need, rows, tokens, there)}"
    return f"{told(need, rows, tokens)}; the device has {amount(there)}"


def _row(name: str, part: Residual, tokens: int, itemsize: int) -> PlanRow:
    parameters = sum(prod(shape) for shape in part.shapes().values())
    flops, state = part.flops(tokens), part.state_bytes(tokens, itemsize)
    return PlanRow(name, describe(part), parameters, flops, state)


def describe(part: Residual) -> str:
    """A part in a few words."""
    core = part.part
    if isinstance(core, Parallel):
        return f"{' + '.join(core.parts)}, {'gated' if core.join else 'summed'}"
    if not isinstance(core, MemoryMixer):
        return type(core).__name__.removesuffix("Mixer").lower()
    memory = core.memory
    return f"{memory.rule.kind} x {memory.segmentation.kind} x {memory.readout.kind}"


def memories(layout: Layout) -> list[MemoryMixer]:
    """The memories of a network, in order, those beside attention too."""
    cores = [part.part for part in layout.parts.values()]
    every = [each for c in cores for each in (c.parts.values() if isinstance(c, Parallel) else [c])]
    return [each for each in every if isinstance(each, MemoryMixer)]


def _dial(layout: Layout, tokens: int, itemsize: int) -> list[DialRow]:
    """Cost of the first memory for growing numbers of segments."""
    mixers = memories(layout)
    if not mixers or not mixers[0].memory.readout.reads_cache:
        return []
    return [_turned(mixers[0], tokens, n, itemsize) for n in DIAL if n <= tokens]


def _turned(mixer: MemoryMixer, tokens: int, segments: int, itemsize: int) -> DialRow:
    from dataclasses import replace

    from mcore.memory_layer import Axes, Memory

    old, length = mixer.memory, -(-tokens // segments)
    axes = Axes(old.rule, Constant(length), old.readout, old.start, old.cache)
    turned = replace(mixer, memory=Memory(axes, old.backend, old.dtype))
    flops, state = turned.flops(tokens), turned.state_bytes(tokens, itemsize)
    return DialRow(segments, length, flops, state)


def _forms(layout: Layout, backend: Backend) -> list[str]:
    fast = backend.accelerates()
    mixers = memories(layout)
    forms = []
    for memory in {id(m.memory.rule): m.memory for m in mixers}.values():
        kind = memory.rule.kind
        for op in _ops(memory):
            quick = {(kind, op), ("*", op)} & fast
            forms.append(f"{kind}.{op}: {'fast kernel' if quick else 'plain reference'}")
    return sorted(set(forms))


def _notes(axes: MemorySpec) -> list[str]:
    cut, read = axes.segmentation.kind != "none", axes.readout.kind != "none"
    if cut and not read and axes.start == "independent":
        return [
            "readout none, independent segments: what lies before a cut is forgotten; "
            "segmentation none gives the plain recurrence"
        ]
    return []


def _ops(memory: Any) -> list[str]:
    readout, linear = memory.readout, memory.rule.linear_read
    if not readout.reads_cache:
        return ["scan"]
    if readout.routing is None:
        return ["scan", "read"]
    return ["scan", "route", "soup" if readout.mixes_states and not linear else "read"]
