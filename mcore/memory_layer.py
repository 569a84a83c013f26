"""The memory layer: the one place where recurrence, segmentation and readout meet.

Raw arrays in, raw arrays out, gradients by hand; no projection is hidden here. `mcore.compose`
makes one from names.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array, as_array, check_names, infer_dims
from mcore.backend import Backend
from mcore.cache import MemoryState, check_state, join
from mcore.continuation import MemorySaved, end_backward, state_gradient
from mcore.errors import InputError, ShapeError, SpecError
from mcore.reading import Scene, add_gradients, add_optional, answer, answer_backward
from mcore.readout import Readout
from mcore.recurrence import Dims, Recurrence
from mcore.router import Pool
from mcore.segmentation import Given, Segmentation
from mcore.segments import cut, fresh


class Axes(NamedTuple):
    """The three axes and the start mode."""

    rule: Recurrence
    segmentation: Segmentation
    readout: Readout
    start: str


class Memory:
    """A composition recurrence x segmentation x readout on one backend.

    Attributes:
        rule, segmentation, readout: the three axes.
        start: `independent` (each segment starts afresh) or `checkpoint` (it goes on).
        backend: what runs the operations.
        dtype: `float32` or `float64`; inputs are converted to it.
    """

    def __init__(self, axes: Axes, backend: Backend, dtype: str) -> None:
        self.rule, self.segmentation, self.readout, self.start = axes
        self.backend, self.dtype = backend, dtype

    @property
    def inputs(self) -> dict[str, str]:
        """What `forward` needs: name -> axes separated by blanks; parameters have no T."""
        declared = dict(self.rule.inputs)
        if self.readout.router is not None:
            declared |= {"k": "B T H K", "u": "B T H K"}
        return declared

    @property
    def origin(self) -> str:
        """The composition in words: what a state must have come from to be continued here."""
        axes = (self.rule, self.segmentation, self.readout)
        words = [f"{axis.kind}{_options(axis)}" for axis in axes]
        return " x ".join(words) + f" ({self.start})"

    def forward(
        self, inputs: Mapping[str, object], state: MemoryState | None = None
    ) -> tuple[Array, MemorySaved]:
        """Run a whole sequence, or go on from a state whose checkpoints are then read.

        Args:
            inputs: one array for each entry of `self.inputs`.
            state: where an earlier `step` ended, or `saved.end` of an earlier `forward`.

        Returns:
            y (B, T, H, V), and what `backward` needs; `saved.end` is the state at the end.

        Raises:
            ShapeError: names or shapes differ from the declared ones, or T = 0.
            InputError: `log_decay` is not finite.
            SpecError: given lengths that do not sum to T; a segmentation that cannot go on.
        """
        arrays = self._checked(inputs)
        if state is None and isinstance(self.segmentation, Given):
            _check_total(self.segmentation, self.rule.dims(arrays))
        return self._run(arrays, state)

    def step(
        self, inputs: Mapping[str, object], state: MemoryState | None = None
    ) -> tuple[Array, MemoryState]:
        """Feed the next tokens of a stream: any number, with the same answer as one `forward`.

        Parameters are passed whole each time. The old state stays usable.

        Raises:
            SpecError: the segmentation needs the total length (`logarithmic`).
        """
        if not self.segmentation.streams:
            raise SpecError(
                f"segmentation: {self.segmentation.kind} cuts depend on the total length, so it "
                "cannot stream; constant, given or none would do"
            )
        y, saved = self._run(self._checked(inputs), state)
        return y, saved.end

    def backward(
        self, saved: MemorySaved, dy: object, d_end: MemoryState | None = None
    ) -> dict[str, Any]:
        """Gradients of `sum(y * dy)`, plus those that flow in through the end state.

        Args:
            saved: from `forward`.
            dy: (B, T, H, V).
            d_end: gradient with respect to `saved.end`: `grads["state"]` of the call that went on.

        Returns:
            A gradient for every entry of `self.inputs`, of the input's shape; and, if `forward`
            was given a state, `"state"`.
        """
        if not isinstance(saved, MemorySaved) or saved.before.origin != self.origin:
            raise InputError("saved: is not what a forward of this memory returned")
        if d_end is not None:
            check_state(d_end, saved.end, "d_end")
        scene = saved.scene
        dy = as_array("dy", dy, self.dtype, self.backend.xp)
        if dy.shape != scene.reads.shape:
            raise ShapeError(f"dy: shape {dy.shape}, expected that of y {scene.reads.shape}")
        ended = end_backward(saved, d_end)
        columns, cached = scene.segments.columns, scene.segments.cached
        gradient = answer_backward(scene, saved.answer_saved, dy, ended.contexts[:, cached:])
        ended.checkpoints[:, :columns] += gradient.checkpoints
        d_inputs, d_carry = self.backend.scan_backward(
            saved.scan_saved, gradient.reads, ended.checkpoints[:, cached:]
        )
        d_prepared = add_gradients(d_inputs, gradient.inputs)
        grads: dict[str, Any] = self.rule.prepare_backward(saved.prepare_saved, d_prepared)
        grads = {name: grads[name] for name in self.inputs}
        if saved.state is not None:
            d_online = add_optional(d_carry, gradient.carry)
            grads["state"] = state_gradient(saved, gradient, d_online, ended)
        return grads

    def _run(
        self, arrays: dict[str, Array], state: MemoryState | None
    ) -> tuple[Array, MemorySaved]:
        dims = self.rule.dims(arrays)
        empty = self._empty(dims)
        if state is not None:
            check_state(state, empty, "state")
        prepared, prepare_saved = self.rule.prepare(arrays)
        progress = state.progress if state is not None else fresh(dims.B)
        segments = cut(self.segmentation, self.start == "checkpoint", dims.T, progress)
        carry = None if state is None else state.online
        scan, scan_saved = self.backend.scan(self.rule, prepared, carry, segments)
        before = state if state is not None else empty
        checkpoints = join(before.checkpoints, scan.checkpoints, segments.columns)
        scene = Scene(
            self.backend, self.rule, self.readout, prepared, carry, segments,
            scan.reads, checkpoints, Pool(before.contexts, before.keys),
        )  # fmt: skip
        (y, routes), answer_saved = answer(scene)
        saved = MemorySaved(
            scene, scan, routes, state, before, scan_saved, answer_saved, prepare_saved
        )
        return y, saved

    def _checked(self, inputs: Mapping[str, object]) -> dict[str, Array]:
        check_names(inputs, self.inputs)
        xp = self.backend.xp
        arrays = {name: as_array(name, inputs[name], self.dtype, xp) for name in self.inputs}
        infer_dims(arrays, self.inputs, self.rule.fixed)
        decay = arrays.get("log_decay")
        if decay is not None and not np.isfinite(decay).all():
            raise InputError("log_decay: has -inf or NaN; any finite value would do, e.g. -40")
        return arrays

    def _empty(self, dims: Dims) -> MemoryState:
        size = int(np.prod(self.rule.state_shape(dims)))
        width = dims.K if self.readout.router is not None else 0
        rows, heads, dtype = dims.B, dims.H, self.dtype
        xp, counts = self.backend.xp, fresh(dims.B)
        return MemoryState(
            xp.zeros((rows, heads, size), dtype),
            xp.zeros((rows, 0, heads, size), dtype),
            xp.zeros((rows, 0, heads, width), dtype),
            xp.zeros((rows, heads, width), dtype),
            counts.position, counts.length, counts.count, self.origin,
        )  # fmt: skip


def _options(axis: object) -> str:
    options = vars(axis)
    return f" {options}" if options else ""


def _check_total(given: Given, dims: Dims) -> None:
    given.check_rows(dims.B)
    for row in range(dims.B):
        if given.total(row) != dims.T:
            raise SpecError(
                f"segmentation.lengths: they sum to {given.total(row)}, but row {row} has "
                f"{dims.T} tokens (step takes a part of a sequence)"
            )
