"""An LSTM or a GRU with weights from torch, layer upon layer, each layer one vector memory.

    h^0 = x        gates^l = h^(l-1) W_ih^T + b        h^l = memory(gates^l, W_hh^T)

A memory has one head, so that a layer is exactly torch's. `wrap` puts a segmentation and a readout
around the same weights (Behrouz et al. 2026, section 4.3).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array, as_array
from mcore.axes import Choice
from mcore.compose import memory
from mcore.course import MemorySaved
from mcore.errors import ShapeError
from mcore.memory_layer import Memory
from mcore.weights.gates import gates_backward, to_memory
from mcore.weights.inputs import Given, added, check_tokens
from mcore.weights.states import RnnState, begun, check_states, hidden
from mcore.weights.streams import RnnStream


class RnnSaved(NamedTuple):
    """What a forward keeps for its backward. Opaque, but for `end`."""

    projected: list[Any]
    memories: list[MemorySaved]

    @property
    def end(self) -> RnnState:
        """The state after the last token, to go on from."""
        return tuple(saved.end for saved in self.memories)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of h."""
        rows, tokens, _, width = self.memories[-1].shape
        return (rows, tokens, width)


class Rnn:
    """Layers of `lstm` or `gru` memories.

    Attributes:
        memory: the composition that every layer runs.
        params: the weights, by torch's names and in its layout; they may be changed in place.
        layers: the suffix of each layer's names, such as `_l0`; empty of a cell.
    """

    def __init__(self, memory: Memory, params: dict[str, Array], layers: Sequence[str]) -> None:
        self.memory, self.params, self.layers = memory, params, tuple(layers)

    @property
    def kind(self) -> str:
        """`lstm` or `gru`."""
        return self.memory.rule.kind

    @property
    def features(self) -> int:
        """C, the width of x."""
        return int(self.params["weight_ih" + self.layers[0]].shape[1])

    @property
    def width(self) -> int:
        """V, the width of h."""
        return int(self.params["weight_hh" + self.layers[0]].shape[1])

    @property
    def further(self) -> dict[str, str]:
        """What the wrapping needs besides x, name -> axes: `{"k_l0": "B T H K", ...}`, H = 1.

        Nothing for readouts without parameters: `none`, `residual`, `moving_average`.
        """
        names = added(self.memory)
        return {name + suffix: axes for suffix in self.layers for name, axes in names.items()}

    def wrap(
        self,
        segmentation: Choice = "none",
        readout: Choice = "none",
        *,
        start: str = "independent",
        cache: Mapping[str, Any] | None = None,
    ) -> "Rnn":
        """The same weights, shared, with checkpoints and a readout in every layer.

        Args:
            segmentation, readout, start, cache: as in `mcore.memory`. With `start="checkpoint"`
                the recurrence runs as it was trained, and the readout looks back; with
                `independent` it begins anew at each cut.

        Raises:
            SpecError: an unknown kind or option.
        """
        ours = self.memory
        wrapped = memory(
            self.kind,
            segmentation,
            readout,
            start=start,
            cache=cache,
            backend=ours.backend,
            dtype=ours.dtype,
        )
        return Rnn(wrapped, self.params, self.layers)

    def forward(
        self,
        x: object,
        state: RnnState | None = None,
        *,
        further: Mapping[str, object] | None = None,
        document: object = None,
    ) -> tuple[Array, RnnSaved]:
        """h (B, T, V) of the last layer for x (B, T, C), and what `backward` needs.

        Args:
            x: tokens, rows first (torch's `batch_first=True`).
            state: where an earlier call ended (`saved.end`), or `begin(h, c)`.
            further: the arrays that `self.further` names.
            document: ids (B, T) as in `mcore.Memory.forward`; negative ones at a row's end are
                padding, for rows of unequal length.

        Raises:
            ShapeError, InputError, SpecError: as `mcore.Memory.forward`.
        """
        h, saved = check_tokens(x, self.features, self.memory.dtype), RnnSaved([], [])
        given, before = self.given(further), self.before(state)
        for n, suffix in enumerate(self.layers):
            inputs, projected = given.inputs(n, to_memory(self.params, suffix), h)
            y, remembered = self.memory.forward(inputs, before[n], document=document)
            saved.projected.append(projected)
            saved.memories.append(remembered)
            h = y[:, :, 0]
        return h, saved

    def backward(
        self, saved: RnnSaved, dh: object, d_end: RnnState | None = None
    ) -> dict[str, Any]:
        """Gradients of `sum(h * dh)`, and of what flows in through the end state.

        Args:
            saved: from `forward`.
            dh: (B, T, V).
            d_end: gradient with respect to `saved.end`: `grads["state"]` of the call that went on.

        Returns:
            `x` (B, T, C); an entry for each of `params` and of `further`; and `state`, if forward
            was given one.
        """
        d_above, d_last = as_array("dh", dh, self.memory.dtype, np), self.before(d_end)
        if d_above.shape != saved.shape:
            raise ShapeError(f"dh: shape {d_above.shape}, expected that of h {saved.shape}")
        grads: dict[str, Any] = {}
        d_states: list[Any] = []
        for n, suffix in reversed(list(enumerate(self.layers))):
            d_inputs = self.memory.backward(saved.memories[n], d_above[:, :, None], d_last[n])
            grads |= gates_backward(saved.projected[n], d_inputs, suffix)
            grads |= {name + suffix: d_inputs[name] for name in added(self.memory)}
            d_above, d_states = grads["x"], [d_inputs.get("state"), *d_states]
        state = {} if d_states[0] is None else {"state": tuple(d_states)}
        return {name: grads[name] for name in ("x", *self.params, *self.further)} | state

    def step(
        self,
        x: object,
        state: RnnState | None = None,
        *,
        further: Mapping[str, object] | None = None,
    ) -> tuple[Array, RnnState]:
        """Feed the next tokens, any number: h (B, T, V) and the new state; the old stays usable.

        Raises:
            SpecError: the segmentation needs the total length (`logarithmic`).
        """
        h, after = check_tokens(x, self.features, self.memory.dtype), []
        given, before = self.given(further), self.before(state)
        for n, suffix in enumerate(self.layers):
            inputs, _ = given.inputs(n, to_memory(self.params, suffix), h)
            y, end = self.memory.step(inputs, before[n])
            after.append(end)
            h = y[:, :, 0]
        return h, tuple(after)

    def stream(self, state: RnnState | None = None) -> RnnStream:
        """A stream that changes in place; later changes of `params` do not reach it."""
        layers = [to_memory(self.params, suffix) for suffix in self.layers]
        return RnnStream(self, layers, state)

    def begin(self, *vectors: object) -> RnnState:
        """A state to begin from: h, and of an LSTM c, each (layers, B, V) as torch's h_0, c_0.

        Raises:
            SpecError: the RNN is wrapped in a segmentation.
            InputError, ShapeError: another number of vectors, or other shapes.
        """
        return begun(self.memory, vectors, len(self.layers), self.width)

    def hidden(self, state: RnnState) -> tuple[Array, ...]:
        """(h,), or (h, c) of an LSTM, each (layers, B, V): torch's h_n, c_n."""
        return hidden(check_states(state, len(self.layers)), self.kind)

    def given(self, further: Mapping[str, object] | None) -> Given:
        """The further inputs of a call, checked."""
        return Given.of(further, added(self.memory), self.layers)

    def before(self, state: RnnState | None) -> Sequence[Any]:
        """The state of each layer, checked; None before the first token."""
        layers = len(self.layers)
        return [None] * layers if state is None else check_states(state, layers)
