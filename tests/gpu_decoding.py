"""Streams decoded on the emulated GPU, beside what the reference says of the whole sequence."""

from typing import Any

import numpy as np
from gpu_cases import close_to
from gpu_variants import moved
from tolerances import tolerance

import mcore
from mcore.arrays import Array
from mcore.backend import Decoding
from mcore.backends.cupy_gpu.decode import CupyDecoder, decoder
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.cache import MemoryState
from mcore.cache.state import FLOATS
from mcore.testing.samples import sample_inputs

SIZES = (3, 15, 2, 3, 5)
"""B, T, H, K, V."""

LENGTHS = [[4, 1, 3, 2, 5], [2, 6, 1, 1, 5], [1, 1, 5, 3, 3, 2]]
FED = 13
"""Segments of each row, and how many tokens it is fed: up to a border in the last row alone."""

TURNS = ([0, 1, 2],) * 4 + ([0, 2],) * 3 + ([1],) * 5
LATER = ([0, 1, 2],) * 2 + ([1, 2],) * 2 + ([0, 2],) * 2 + ([0],) * 2
"""Which rows are fed together, one token each, before and after the state is restored."""


def composition_of(recurrence: Any, readout: Any, **options: Any) -> dict[str, Any]:
    """A composition whose rows are cut each for itself."""
    cut = {"kind": "given", "lengths": LENGTHS}
    return {"recurrence": recurrence, "segmentation": cut, "readout": readout} | options


class Fed:
    """A stream whose rows are fed in turn, every answer compared with the reference.

    Attributes:
        inputs, want: of the whole sequence.
        end: the state after the first `FED` tokens.
        position: (B,) tokens that each row has been fed.
    """

    def __init__(
        self,
        composition: dict[str, Any],
        dtype: str = "float64",
        seed: int = 1,
        sizes: tuple[int, ...] = SIZES,
    ) -> None:
        self.memory = mcore.memory(**composition, backend="reference", dtype=dtype)
        self.inputs = {
            name: x.astype(dtype) for name, x in sample_inputs(composition, sizes, 5).items()
        }
        self.want, _ = self.memory.forward(self.inputs)
        _, self.end = self.memory.step(self.until(FED))
        self.allowed, self.device = tolerance(dtype, "forward"), EmulatedDevice(seed)
        self.position = np.zeros(sizes[0], np.int64)
        self.dims = self.memory.rule.dims(self.inputs)._replace(T=1)
        self.stream = self.stream_from(self.memory.empty(self.dims))

    def stream_from(self, state: MemoryState) -> CupyDecoder:
        """A decoder that goes on from a state, on the host or on the device."""
        memory, carries = self.memory, self.memory.start == "checkpoint"
        decoding = Decoding(memory.rule, memory.readout, memory.cache, carries, self.dims, None)
        on_device = moved(state.on(np), self.device)
        found = decoder(self.device, decoding, on_device)
        assert found is not None
        return found

    def until(self, tokens: int) -> dict[str, Array]:
        """The first tokens of all rows."""
        declared, cut = self.memory.inputs, slice(tokens)
        return {n: x[:, cut] if "T" in declared[n] else x for n, x in self.inputs.items()}

    def token(self, rows: list[int]) -> dict[str, Any]:
        """The next token of some rows, on the device."""
        declared, places = self.memory.inputs, self.position[rows]
        return {
            name: self.device.upload(x[rows, places][:, None] if "T" in declared[name] else x)
            for name, x in self.inputs.items()
        }

    def closes(self, rows: list[int]) -> Array:
        """Which of the rows end a segment with their next token."""
        remaining, position = self.memory.segmentation.remaining, self.position
        return np.array([remaining(row, int(position[row])) == 1 for row in rows])

    def feed(self, *turns: list[int]) -> None:
        """The next tokens of rows that have their turn together."""
        for rows in turns:
            token, closes = self.token(rows), self.closes(rows)
            if len(rows) == len(self.position) and not closes.any():
                y = self.stream.feed(token, None)
            else:
                y = self.stream.feed_rows(np.array(rows), token, closes)
            self.answered(rows, y)

    def feed_elsewhere(self, tokens: int) -> None:
        """Other streams in all places, whose segments end with each token."""
        for t in range(tokens):
            self.position[:], kept = t, self.position.copy()
            self.stream.feed(self.token([0, 1, 2]), np.ones(3, bool))
            self.position[:] = kept

    def answered(self, rows: list[int], y: Any) -> None:
        """Raise AssertionError unless y (n, 1, H, V) is their next answer."""
        want = self.want[rows, self.position[rows]][:, None]
        close_to(f"rows {rows} at {self.position[rows]}", y, want, self.allowed)
        self.position[rows] += 1

    def ended(self) -> None:
        """Raise AssertionError unless the stream's state is `end`."""
        same_state(self.stream.state, self.end, self.allowed)
        numbers = self.device.download(self.stream.memory.books)
        for head in range(numbers.shape[1]):
            np.testing.assert_array_equal(numbers[:, head], self.stream.books.numbers)


def same_state(got: MemoryState, want: MemoryState, allowed: float) -> None:
    """Raise AssertionError unless a state on the device is that on the host."""
    for name in FLOATS:
        mine, theirs = getattr(got, name), getattr(want, name)
        assert mine.dtype == theirs.dtype, f"{name}: {mine.dtype}, expected {theirs.dtype}"
        close_to(name, mine.astype("float64"), theirs.astype("float64"), allowed)
    for name in ("position", "length", "count", "ledger"):
        np.testing.assert_array_equal(getattr(got, name)[..., :1], getattr(want, name)[..., :1])


def hold(
    composition: dict[str, Any],
    dtype: str = "float64",
    seed: int = 1,
    sizes: tuple[int, ...] = SIZES,
) -> CupyDecoder:
    """All rows in turn, from a restored state half-way; raises AssertionError where they differ."""
    fed = Fed(composition, dtype, seed, sizes)
    fed.feed(*TURNS)
    fed.stream = fed.stream_from(fed.stream.state)
    fed.feed(*LATER)
    fed.ended()
    return fed.stream


def hard_numbers(shape: tuple[int, ...], dtype: str) -> Array:
    """Numbers that are hard to round: half-way between two codes, or a hair from there.

    Those of the last row are too large, and NaN where that is no mistake.
    """
    rng, kept = np.random.default_rng(0), {"float16": 11, "bfloat16": 8, "int8": 8}[dtype]
    lowest, highest = {"float16": (-26, 15), "bfloat16": (-60, 60), "int8": (-3, 3)}[dtype]
    half_steps = rng.integers(2**kept, 2 ** (kept + 1), shape) * 2.0**-kept
    near = rng.choice([0, 2.0**-40, -(2.0**-40), 2.0**-20, 0.3 * 2.0**-kept], shape)
    sign = rng.choice([-1.0, 1.0, 1.0, 0.0], shape)
    x: Array = sign * (half_steps + near) * 2.0 ** rng.integers(lowest, highest, shape)
    if dtype != "int8":
        x[2, :, ::2], x[2, :, ::7] = 1e6 * sign[2, :, ::2], np.nan
    return x
