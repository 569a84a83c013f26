"""The memory layer: the one place where recurrence, segmentation and readout meet.

Raw arrays in, raw arrays out, gradients by hand; no projection is hidden here. `mcore.compose`
makes one from names.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array, as_array, check_names, converted, infer_dims
from mcore.backend import Backend
from mcore.cache import CachePolicy, MemoryState, Widths, check_state, empty_state
from mcore.cache.settle import Merger
from mcore.conflicts import conflicts
from mcore.course import Course, MemorySaved, run, run_backward
from mcore.cuts import Content, check_documented, check_given, find_cuts
from mcore.cutting import Visibility
from mcore.documents import arrivals, check_documents, unpadded, whole
from mcore.errors import InputError, ShapeError, SpecError
from mcore.onset import Keeper
from mcore.passes import Machine
from mcore.placing import on_host
from mcore.readout import Readout
from mcore.recurrence import Dims, Recurrence
from mcore.segmentation import Adaptive, Segmentation
from mcore.stream import Stream


class Axes(NamedTuple):
    """The three axes, the start mode, and what bounds the cache."""

    rule: Recurrence
    segmentation: Segmentation
    readout: Readout
    start: str
    cache: CachePolicy = CachePolicy()


class Memory:
    """A composition recurrence x segmentation x readout on one backend.

    Attributes:
        rule, segmentation, readout: the three axes.
        start: `independent` (each segment starts afresh) or `checkpoint` (it goes on).
        cache: what bounds the cache.
        backend: what runs the operations.
        dtype: `float32` or `float64`; inputs are converted to it.
    """

    def __init__(self, axes: Axes, backend: Backend, dtype: str) -> None:
        for problem in conflicts(axes.rule, axes.segmentation, axes.readout, axes.cache):
            raise SpecError(problem.text)
        self.rule, self.segmentation, self.readout, self.start, self.cache = axes
        self.backend, self.dtype = backend, dtype

    @property
    def inputs(self) -> dict[str, str]:
        """What `forward` needs: name -> axes separated by blanks; parameters have no T."""
        declared = self.rule.inputs | self.readout.inputs
        if self._drifts:
            declared |= {"k": "B T H K"}
        return declared

    @property
    def origin(self) -> str:
        """The composition in words: what a state must have come from to be continued here."""
        axes = (self.rule, self.segmentation, self.readout)
        words = " x ".join(f"{axis.kind}{_options(axis)}" for axis in axes)
        bound = "" if self.cache == CachePolicy() else f" x cache{_options(self.cache)}"
        return f"{words}{bound} ({self.start})"

    def forward(
        self,
        inputs: Mapping[str, object],
        state: MemoryState | None = None,
        *,
        document: object = None,
    ) -> tuple[Array, MemorySaved]:
        """Run a whole sequence, or go on from a state whose checkpoints are then read.

        Args:
            inputs: one array for each entry of `self.inputs`.
            state: where an earlier `step` ended, or `saved.end` of an earlier `forward`.
            document: (B, T) ids of the documents packed in each row: a token sees its own document
                only, and packed gives what separate gives. Negative ids at a row's end are padding:
                y is 0 there and nothing is remembered. None: all is one document.

        Returns:
            y (B, T, H, V), and what `backward` needs; `saved.end` is the state at the end.

        Raises:
            ShapeError: names or shapes differ from the declared ones, or T = 0.
            InputError: `log_decay` is not finite (of arrays that come on a device nobody looks at
                the numbers, as that would wait for it); ids are not integers, or padding is not
                last.
            SpecError: given lengths that do not sum to T; a segmentation that cannot go on.
        """
        arrays = self.checked(inputs)
        dims = self.rule.dims(arrays)
        if state is None:
            check_given(self.segmentation, dims.T, dims.B)
        return self._run(arrays, state, document)

    def step(
        self,
        inputs: Mapping[str, object],
        state: MemoryState | None = None,
        *,
        document: object = None,
    ) -> tuple[Array, MemoryState]:
        """Feed the next tokens of a stream: any number, with the same answer as one `forward`.

        Parameters are passed whole each time. The old state stays usable.

        Raises:
            SpecError: the segmentation needs the total length (`logarithmic`).
        """
        if not self.segmentation.streams:
            raise SpecError(
                f"segmentation: {self.segmentation.kind} cuts depend on the total length, so it "
                "cannot stream; constant, adaptive, given or none would do"
            )
        y, saved = self._run(self.checked(inputs), state, document)
        return y, saved.end

    def stream(self, state: MemoryState | None = None, *, skip: float | None = None) -> Stream:
        """A stream that changes in place: `step` at the speed of memory. See `mcore.stream`.

        Args:
            state: where to go on from.
            skip: the largest error, in Euclidean norm per token and head, at which checkpoints
                with small gates may be left unread; None reads all.

        Raises:
            SpecError: `skip` with a readout whose error is not bounded by its gates.
        """
        return Stream(self, state, skip)

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
            was given a state, `"state"`. Where cuts are, and what a bounded cache lets go, counts
            as constant.
        """
        if not isinstance(saved, MemorySaved) or saved.origin != self.origin:
            raise InputError("saved: is not what a forward of this memory returned")
        if d_end is not None:
            check_state(d_end, _as_gradient(saved.end, self.dtype), "d_end")
            d_end = d_end.on(self.backend.xp)
        dy = as_array("dy", dy, self.dtype, self.backend.xp)
        if dy.shape != saved.shape:
            raise ShapeError(f"dy: shape {dy.shape}, expected that of y {saved.shape}")
        d_prepared, d_state = run_backward(saved, unpadded(dy, saved.cuts.lists), d_end)
        d_arrays = self.rule.prepare_backward(saved.prepare_saved, d_prepared)
        grads: dict[str, Any] = self.readout.complete_backward(d_arrays)
        if "k" not in grads and self._drifts:
            rows, tokens, heads, _ = saved.shape
            width = saved.end.keys.shape[-1]
            grads["k"] = self.backend.xp.zeros((rows, tokens, heads, width), self.dtype)
        grads = {name: grads[name] for name in self.inputs}
        if saved.given:
            grads["state"] = d_state
        return grads

    def _run(
        self, arrays: dict[str, Array], state: MemoryState | None, document: object
    ) -> tuple[Array, MemorySaved]:
        dims = self.rule.dims(arrays)
        before = self.empty(dims)
        if state is not None:
            check_state(state, before, "state")
            before = state.on(self.backend.xp)
        prepared, prepare_saved = self.rule.prepare(self.readout.complete(arrays))
        if document is not None:
            check_documented(self.segmentation)
            ids = check_documents(document, dims.B, dims.T)
            arrived = arrivals(ids, before.position, before.document)
        else:
            arrived = whole(dims.B, dims.T, before.position, before.document)
        content = Content(self.backend, self.rule, prepared, before)
        cuts = find_cuts(self.segmentation, content, arrived, self.start == "checkpoint")
        visibility = Visibility(self.start == "checkpoint", self.cache.window)
        machine = self._machine(dims)
        course = Course(prepared, before, cuts, dims.T, visibility)
        y, passes, closed = run(machine, course)
        saved = MemorySaved(
            machine, passes, closed, cuts, arrived, prepare_saved, state is not None
        )
        return unpadded(y, saved.cuts.lists), saved

    def _machine(self, dims: Dims) -> Machine:
        router = self.readout.routing
        sums = router is not None and router.pool == "sum"
        merger = Merger(self.rule, dims.K, sums)
        row = self.rule.state_shape(dims)[-1]
        keeper = Keeper(self.cache, merger, row, self.readout.reads_cache)
        made = {**self.readout.inputs, **self.rule.prepared}
        parameters = {name for name, axes in made.items() if "T" not in axes.split()}
        return Machine(self.backend, self.rule, self.readout, keeper, frozenset(parameters))

    def checked(self, inputs: Mapping[str, object]) -> dict[str, Array]:
        """The inputs as arrays of the memory's dtype; raises as `forward` does."""
        check_names(inputs, self.inputs)
        xp = self.backend.xp
        given = {name: converted(name, inputs[name], self.dtype, xp) for name in self.inputs}
        infer_dims(given, self.inputs, self.rule.fixed)
        decay = given.get("log_decay")
        if decay is not None and on_host(decay) and not np.isfinite(decay).all():
            raise InputError("log_decay: has -inf or NaN; any finite value would do, e.g. -40")
        return {name: xp.asarray(x) for name, x in given.items()}

    def empty(self, dims: Dims) -> MemoryState:
        """The state before the first token."""
        context = dims.K if self.readout.routing is not None else 0
        widths = Widths(self.rule.state_shape(dims), context, dims.K if self._drifts else context)
        like = self.backend.xp.empty((dims.B, dims.H), self.dtype)
        return empty_state(like, widths, self.cache.dtype, self.origin)

    @property
    def _drifts(self) -> bool:
        """Whether cuts look at keys."""
        return isinstance(self.segmentation, Adaptive) and self.segmentation.rule == "drift"


def _options(axis: object) -> str:
    options = {n: x for n, x in vars(axis).items() if getattr(type(axis), n, None) != x}
    return f" {options}" if options else ""


def _as_gradient(state: MemoryState, dtype: str) -> MemoryState:
    """A state whose arrays are like those of its gradient."""
    return replace(state, checkpoints=np.empty(state.checkpoints.shape, dtype))
