"""How kernels of deep memories cut tokens and hidden units into tiles that fit in shared memory."""

from typing import NamedTuple

from mcore.errors import BackendError

SHARED = 160 << 10
"""Bytes of shared memory that a block may have on every GPU since sm_80."""

SIZES = (64, 32, 16)
"""Tokens of a tile, and hidden units worked on at once, the best first; of those also 8."""


class Tiling(NamedTuple):
    """Sizes that kernels are compiled for, and the bytes of shared memory that they take.

    Attributes:
        keys: K, rounded up.
        rows: tokens of a tile.
        slice: hidden units that are worked on at once.
        shared: bytes.
    """

    keys: int
    rows: int
    slice: int
    shared: int

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """For a `Variant`."""
        return (("MC_KEYS", self.keys), ("MC_ROWS", self.rows), ("MC_SLICE", self.slice))


class Counts(NamedTuple):
    """Matrices in shared memory, by shape: tokens x K, K x slice, tokens x slice, tokens x tokens.

    Attributes:
        vectors: numbers for each token besides.
        rows: the most tokens of a tile.
        numbers: besides all these.
    """

    by_key: int
    weights: int
    hidden: int
    pairs: int = 0
    vectors: int = 20
    rows: int = SIZES[0]
    numbers: int = 0


def tiling(counts: Counts, keys: int, width: int, tokens: int, item: int) -> Tiling:
    """The largest tiles that fit, none larger than there is work for.

    Args:
        counts: what lies in shared memory.
        keys, width, tokens: K, E, and tokens that are worked on together.
        item: bytes of a number.

    Raises:
        BackendError: K is so large that not even the smallest fit.
    """
    wide = up(keys)
    for rows in SIZES:
        for units in (*SIZES, 8):
            fits = rows <= min(up(tokens), counts.rows) and units <= up(width)
            shared = _bytes(counts, wide, rows, units, item)
            if fits and shared <= SHARED:
                return Tiling(wide, rows, units, shared)
    raise BackendError(
        f"k: {keys} wide; here the GPU's kernels of deep memories take at most "
        f"{_widest(counts, item)} in {'float64' if item == 8 else 'float32'}; "
        "narrower heads, or more of them, would do"
    )


def up(n: int) -> int:
    """The next multiple of 16."""
    return max(16, -(-n // 16) * 16)


def _bytes(counts: Counts, keys: int, rows: int, units: int, item: int) -> int:
    matrices = (
        (counts.by_key, rows * (keys + 4)),
        (counts.weights, keys * (units + 4)),
        (counts.hidden, rows * (units + 4)),
        (counts.pairs, rows * (rows + 4)),
        (counts.vectors, rows),
    )
    return (sum(count * size for count, size in matrices) + counts.numbers) * item + 1024


def _widest(counts: Counts, item: int) -> int:
    widths = range(16, 4096, 16)
    return max(keys for keys in widths if _bytes(counts, keys, 16, 8, item) <= SHARED)
