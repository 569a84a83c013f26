"""Shared memory of the kernels that scan matrix memories, as their sources take it."""

from typing import NamedTuple

PADDING = 4
"""Numbers between the rows of a shared matrix: `padded` in cuda/base.cuh."""

ROW_PARTS = 64
"""As in cuda/chunk_rows.cuh."""

RING = 4
"""As in cuda/tile_stream.cuh."""


class Blocks(NamedTuple):
    """Tokens of a chunk, keys and values of a tile; from them, numbers of each shared matrix."""

    rows: int
    keys: int
    values: int

    @property
    def pair(self) -> int:
        """(rows, rows)."""
        return self.rows * (self.rows + PADDING)

    @property
    def key(self) -> int:
        """(rows, keys)."""
        return self.rows * (self.keys + PADDING)

    @property
    def value(self) -> int:
        """(rows, values)."""
        return self.rows * (self.values + PADDING)

    @property
    def state(self) -> int:
        """(keys, values)."""
        return self.keys * (self.values + PADDING)

    @property
    def products(self) -> tuple[int, ...]:
        """Of cuda/chunk_products.cuh."""
        return self.key, self.value

    @property
    def answers(self) -> tuple[int, ...]:
        """Of cuda/chunk_answers.cuh."""
        return max(self.key, self.pair), max(self.key, self.value), self.state

    @property
    def gradients(self) -> tuple[int, ...]:
        """Of cuda/chunk_gradients.cuh."""
        pairs, state = max(self.value, self.pair), max(self.state, self.pair)
        return self.rows, self.rows, ROW_PARTS, self.key, self.key, pairs, pairs, state, self.state

    @property
    def solve(self) -> tuple[int, ...]:
        """Of delta_solve."""
        return self.rows, self.rows, self.pair, self.pair, max(self.pair, self.key, self.value)

    @property
    def passed(self) -> int:
        """Columns of values that pass through a chain together: PASS of cuda/delta_chains.cuh."""
        return 16 if self.values % 32 else 32

    def chains(self, keys: int) -> tuple[int, ...]:
        """Of cuda/delta_chains.cuh, for `keys` keys in all."""
        apart = self.passed + PADDING
        all_keys = -(-keys // self.keys) * self.keys
        return self.rows * apart, all_keys * apart, RING * self.key, RING * self.rows

    @property
    def corrections(self) -> tuple[int, ...]:
        """Of correction_gradients."""
        return ROW_PARTS, self.rows, self.rows, self.pair, self.value

    @property
    def delta_gradients(self) -> tuple[int, ...]:
        """Of cuda/delta_gradients.cuh."""
        return *self.gradients, self.rows, self.rows, self.rows
