"""Emit the transpose of one square block as LLVM IR: loads, a network of shuffles, stores."""

from typing import Any

from mcore.backends.numba_cpu.vectors import INDEX, Vectors, outlined


def emit_block_transpose(module: Any, element: Any, size: int) -> Any:
    """The function `(a, a_row, b, b_row)`: B = A^T for a block of `size` x `size`."""
    name = f"mcore_transpose_{element.intrinsic_name}"
    target = [element.as_pointer(), INDEX]
    function, builder = outlined(module, name, [*target, *target])
    if builder is None:
        return function
    a, a_row, b, b_row = function.args
    vectors = Vectors(builder, element, size)
    rows = [vectors.load(_row(builder, a, a_row, i)) for i in range(size)]
    for i, row in enumerate(transposed(vectors, rows)):
        vectors.store(row, _row(builder, b, b_row, i))
    builder.ret_void()
    return function


def transposed(vectors: Vectors, rows: list[Any]) -> list[Any]:
    """Swap the bits of row and lane numbers one by one: log2(size) rounds of shuffles."""
    size = len(rows)
    bit = size // 2
    while bit:
        keep = [lane if not lane & bit else size + lane - bit for lane in range(size)]
        swap = [lane + bit if not lane & bit else size + lane for lane in range(size)]
        for i in range(size):
            if not i & bit:
                pair = rows[i], rows[i + bit]
                rows[i] = vectors.shuffle(*pair, keep)
                rows[i + bit] = vectors.shuffle(*pair, swap)
        bit //= 2
    return rows


def _row(builder: Any, pointer: Any, stride: Any, i: int) -> Any:
    return builder.gep(pointer, [builder.mul(stride, INDEX(i))])
