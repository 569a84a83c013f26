"""The best few of many logits inside kernels: `select_best(logits, first, best, columns, bound)`.

The largest logits of each token, in order, in `best` (top_k, n), their columns in `columns`. Ties
go to the lower column; where there are fewer than top_k, `best` is -inf and `columns` is -1.

Shapes: logits (C, n) of the columns from `first` on, columns int32; bound = two scratch vectors
(n,), of the logits' type and int32. Rows are contiguous.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from mcore.backends.numba_cpu import host, select_portable
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.gemm import describe
from mcore.backends.numba_cpu.select_emit import SLOTS, emit_select


@intrinsic
def _next_best(
    typing: Any, logits: Any, first: Any, best: Any, columns: Any, value: Any, column: Any
) -> tuple[Any, Any]:
    """The next few of the best after the bound (value, column), as many as `best` has rows."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        logits_at, (count, tokens), (row, _) = describe(context, builder, kinds[0], args[0])
        best_at, (slots, _), (best_row, _) = describe(context, builder, kinds[2], args[2])
        columns_at, _, (columns_row, _) = describe(context, builder, kinds[3], args[3])
        value_at, _, _ = describe(context, builder, kinds[4], args[4])
        column_at, _, _ = describe(context, builder, kinds[5], args[5])
        element = context.get_data_type(kinds[0].dtype)
        tiling = host.tiling(context.get_abi_sizeof(element))
        assert tiling is not None
        function = emit_select(builder.module, element, tiling.lanes)
        found = [best_at, best_row, columns_at, columns_row, slots]
        builder.call(
            function, [logits_at, row, count, tokens, args[1], *found, value_at, column_at]
        )
        return context.get_dummy_value()

    return types.void(logits, types.int64, best, columns, value, column), codegen


@device
def _emitted_select(logits: Any, first: int, best: Any, columns: Any, bound: Any) -> None:
    value, column = bound
    for t in range(value.shape[0]):
        value[t] = np.inf
        column[t] = -1
    for slot in range(0, best.shape[0], SLOTS):
        end = min(slot + SLOTS, best.shape[0])
        _next_best(logits, first, best[slot:end], columns[slot:end], value, column)
        for t in range(value.shape[0]):
            value[t] = best[end - 1, t]
            column[t] = columns[end - 1, t]


@device
def _portable_select(logits: Any, first: int, best: Any, columns: Any, bound: Any) -> None:
    select_portable.select_best(logits, first, best, columns)


select_best = _portable_select if host.tiling(4) is None else _emitted_select
