"""The middle of a cached read's gradient inside kernels: `weigh(a, b, q, d, weighted, w, s)`.

    X = A B        s_t += sum_k Q_kt X_kt        D += w . X        weighted = w . Q

Shapes: a (K, V) any strides; b (V, n), q, d, weighted (K, n) with unit column stride; w, s (n,)
contiguous. X is used up tile by tile (`weigh_emit`); hosts whose vector unit is unknown use loops.
"""

from typing import Any

from numba import types
from numba.extending import intrinsic

from mcore.backends.numba_cpu import gemm_portable, host
from mcore.backends.numba_cpu.gemm import check_types, describe
from mcore.backends.numba_cpu.weigh_emit import emit_weigh


@intrinsic
def _emitted_weigh(
    typing: Any, a: Any, b: Any, q: Any, d: Any, weighted: Any, w: Any, s: Any
) -> tuple[Any, Any]:
    check_types(a, b, q, d, weighted, w, s)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = [
            describe(context, builder, kind, value)
            for kind, value in zip(signature.args, args, strict=True)
        ]
        a_at, (rows, depth), a_steps = found[0]
        b_at, (_, columns), (b_row, _) = found[1]
        targets = [x for at, _, (row, _) in found[2:5] for x in (at, row)]
        element = context.get_data_type(signature.args[0].dtype)
        tiling = host.tiling(context.get_abi_sizeof(element))
        assert tiling is not None
        function = emit_weigh(builder.module, element, tiling)
        vectors = [at for at, _, _ in found[5:]]
        a_part, b_part = [a_at, *a_steps, rows, depth], [b_at, b_row, columns]
        builder.call(function, [*a_part, *b_part, *targets, *vectors])
        return context.get_dummy_value()

    return types.void(a, b, q, d, weighted, w, s), codegen


weigh = gemm_portable.weigh if host.tiling(4) is None else _emitted_weigh
