"""A stream through a memory that changes in place: what `Memory.step` answers, token by token.

Where the backend has a decoder for the composition, a token is one kernel call, without allocation
but for its answer; else, and for many tokens at once, it is `step`. Both continue the same state.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from mcore.arrays import Array, namespace
from mcore.backend import Decoder, Decoding
from mcore.cache import MemoryState, check_state
from mcore.errors import SpecError
from mcore.placing import on_host

if TYPE_CHECKING:
    from mcore.memory_layer import Memory

MANY = 128
"""From so many tokens on, the kernels for whole sequences are faster."""

_PLAIN = 0x101
"""Flags of a NumPy array that is contiguous and aligned."""


class Stream:
    """One stream of B rows through a memory, with the answers of `Memory.step`.

    Attributes:
        memory: the composition.
        skip: None, or the largest error (Euclidean norm, per token and head) at which checkpoints
            with small gates may be left unread.
    """

    def __init__(self, memory: "Memory", state: MemoryState | None, skip: float | None) -> None:
        self.memory, self.skip = memory, skip
        self._state, self._decoder, self._stepwise = state, cast(Decoder | None, None), False
        self._shapes: list[tuple[str, tuple[int, ...]]] = []
        self._dtype, self._array = np.dtype(memory.dtype), memory.backend.xp.ndarray
        self._dense = _dense_on_host if self._array is np.ndarray else _dense_on_device
        self._left, self._stretch = 0, _Stretch(np.zeros(0, np.int64), np.zeros(0, np.int64))
        if skip is not None:
            _check_skip(memory, skip)

    def feed(self, inputs: Mapping[str, object], *, document: object = None) -> Array:
        """y (B, T, H, V) of the next tokens: any number, as `Memory.step` takes them.

        Raises:
            ShapeError, InputError, SpecError: as `Memory.step`; the stream is then as it was.
        """
        if self._left and document is None and self._usual(inputs):
            return self._one(inputs)  # type: ignore[arg-type]
        if self._stepwise:
            y: Array
            y, self._state = self.memory.step(inputs, self._state, document=document)
            return y
        return self._feed(inputs, document)

    @property
    def state(self) -> MemoryState | None:
        """Where the stream is; None before the first token. `step` and `forward` go on from it."""
        if self._decoder is None or self._state is None:
            return self._state
        return replace(self._decoder.state, document=self._state.document)

    @property
    def decodes(self) -> bool:
        """Whether the backend decodes this composition; known after the first token."""
        return self._decoder is not None

    @property
    def bound(self) -> float:
        """How far the last token's answer may be off in a head because of `skip`."""
        return 0.0 if self._decoder is None else self._decoder.bound

    def _usual(self, inputs: Mapping[str, object]) -> bool:
        """Whether these are one token's arrays, just as the decoder takes them."""
        if len(inputs) != len(self._shapes):
            return False
        for name, shape in self._shapes:
            x: Any = inputs.get(name)
            if type(x) is not self._array or x.shape != shape or x.dtype is not self._dtype:
                return False
            if not self._dense(x):
                return False
        return True

    def _feed(self, inputs: Mapping[str, object], document: object) -> Array:
        arrays = self.memory.checked(inputs)
        dims = self.memory.rule.dims(arrays)
        if self._decoder is None and document is None and dims.T < MANY:
            self._go_on(self._state, arrays)
        if self._decoder is None or document is not None or dims.T >= MANY:
            y, state = self.memory.step(arrays, self.state, document=document)
            self._go_on(state, arrays)
            return y
        check_state(self._state, self.memory.empty(dims), "state")
        begun = self._stretch.position + self._stretch.length - self._left
        for row, position in enumerate(begun.tolist()):
            self.memory.segmentation.borders(row, position, position + dims.T)
        tokens = [token_of(arrays, self.memory.inputs, t) for t in range(dims.T)]
        answers = [self._one(token) for token in tokens]
        joined: Array = namespace(answers[0]).concatenate(answers, axis=1)
        return joined

    def _one(self, token: Mapping[str, Array]) -> Array:
        """One token, after which segments may end."""
        decoder, stretch = cast(Decoder, self._decoder), self._stretch
        if self._left > 1:
            y = decoder.feed(token, None)
            self._left -= 1
            return y
        y = decoder.feed(token, stretch.remaining == stretch.length)
        self._begin(stretch.position + stretch.length)
        return y

    def _go_on(self, state: MemoryState | None, arrays: Mapping[str, Array]) -> None:
        """Go on from a state, decoding if that can be; `arrays` are inputs of its sizes."""
        memory, declared = self.memory, self.memory.inputs
        dims = memory.rule.dims(arrays)._replace(T=1)
        empty = memory.empty(dims)
        if state is not None:
            check_state(state, empty, "state")
        self._state = state
        if memory.segmentation.remaining(0, 0) is not None:
            carries = memory.start == "checkpoint"
            decoding = Decoding(memory.rule, memory.readout, memory.cache, carries, dims, self.skip)
            self._decoder = memory.backend.decoder(decoding, state or empty)
        if self._decoder is None:
            self._stepwise = True
            return
        position = empty.position if state is None else state.position
        document = empty.document if state is None else state.document
        self._state = replace(empty, document=document)
        self._shapes = [(n, _of_one(x.shape, declared[n])) for n, x in arrays.items()]
        self._begin(position)

    def _begin(self, position: Array) -> None:
        """Look for the next border after `position` (B,) tokens."""
        remaining = self.memory.segmentation.remaining
        rest = [remaining(row, begun) or 0 for row, begun in enumerate(position.tolist())]
        self._stretch = _Stretch(position, np.array(rest))
        self._left = self._stretch.length


class _Stretch(NamedTuple):
    """Tokens up to the next border of any row.

    Attributes:
        position: (B,) tokens of each row's document before them.
        remaining: (B,) tokens up to each row's next border.
    """

    position: Array
    remaining: Array

    @property
    def length(self) -> int:
        """Their number."""
        return int(self.remaining.min())


def token_of(arrays: Mapping[str, Array], declared: Mapping[str, str], t: int) -> dict[str, Array]:
    """Token t of all inputs, each without gaps."""
    return {
        name: _dense(x[:, t : t + 1] if "T" in declared[name].split() else x)
        for name, x in arrays.items()
    }


def _dense_on_host(x: Array) -> bool:
    return x.flags.num & _PLAIN == _PLAIN


def _dense_on_device(x: Array) -> bool:
    return x.flags.c_contiguous


def _dense(x: Array) -> Array:
    """`x` without gaps."""
    dense: Array = namespace(x).ascontiguousarray(x)
    return np.require(dense, None, ["C", "A"]) if on_host(x) else dense


def _of_one(shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    """The shape of an input of one token."""
    return (shape[0], 1, *shape[2:]) if "T" in axes.split() else shape


def _check_skip(memory: "Memory", skip: float) -> None:
    router = memory.readout.routing
    if router is None or router.top_k is not None or not memory.rule.linear_read:
        raise SpecError(
            "skip: leaves out checkpoints with small gates, and this composition has none whose "
            "error is bounded; readout grm over a memory with a linear read would do"
        )
    if not (isfinite(skip) and skip >= 0):
        raise SpecError(f"skip: {skip} is out of range; a finite number of at least 0 would do")
