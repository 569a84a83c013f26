"""Where a task's rows are, which segment each is in, and moving their states."""

from typing import Any

from mcore.backends.numba_cpu.caching import device


@device
def task_place(task: int, rows: int, blocks: int) -> Any:
    """(first row, end, h): a head's blocks follow each other."""
    h, block = task // blocks, task % blocks
    return rows * block // blocks, rows * (block + 1) // blocks, h


@device
def advance_cursor(x: Any, b: int, s: int, t: int) -> int:
    """The segment of token t in row b, that of the token before being s."""
    while x.bounds[b, s + 1] <= t:
        s += 1
    return s


@device
def load_row(source: Any, target: Any, r: int) -> None:
    """Row r of `target` (n, rows, V) is the vectors `source` (n, V)."""
    for e in range(source.shape[0]):
        for j in range(source.shape[1]):
            target[e, r, j] = source[e, j]


@device
def add_row(source: Any, target: Any, r: int) -> None:
    """`load_row` that adds."""
    for e in range(source.shape[0]):
        for j in range(source.shape[1]):
            target[e, r, j] += source[e, j]


@device
def store_row(source: Any, r: int, target: Any) -> None:
    """The converse of `load_row`."""
    for e in range(target.shape[0]):
        for j in range(target.shape[1]):
            target[e, j] = source[e, r, j]


@device
def clear_row(target: Any, r: int) -> None:
    """Row r of `target` (n, rows, V) is zero."""
    for e in range(target.shape[0]):
        for j in range(target.shape[2]):
            target[e, r, j] = 0
