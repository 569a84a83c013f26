"""The largest number of a row, `highest_of`: a loop over a maximum does not vectorise by itself."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from mcore.backends.numba_cpu import host
from mcore.backends.numba_cpu.decode_emit import emit_loop
from mcore.backends.numba_cpu.vectors import INDEX, Vectors, outlined

_SEVERAL = 4
"""Vectors at once: each maximum waits for the one before it."""


@intrinsic
def highest_of(typing: Any, row: Any) -> tuple[Any, Any]:
    """The largest number of a row (n,) without gaps, n at least 1; of NaN, any."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        element = context.get_data_type(signature.args[0].dtype)
        lanes, _ = host.lanes(context.get_abi_sizeof(element))
        function = _emit_highest(builder.module, element, lanes)
        found = cgutils.alloca_once(builder, element)
        length = builder.extract_value(array.shape, 0)
        builder.call(function, [array.data, length, found])
        return builder.load(found)

    return row.dtype(row), codegen


def _emit_highest(module: Any, element: Any, lanes: int) -> Any:
    """The function `(row, n, out)`."""
    name = f"mcore_highest_{element.intrinsic_name}"
    place = element.as_pointer()
    function, builder = outlined(module, name, [place, INDEX, place])
    if builder is None:
        return function
    row, length, out = function.args
    vectors, step = Vectors(builder, element, lanes), INDEX(_SEVERAL * lanes)
    whole = builder.mul(builder.udiv(length, step), step)
    first = builder.load(row)

    def several(i: Any, tops: list[Any]) -> list[Any]:
        places = [builder.add(i, INDEX(lanes * part)) for part in range(_SEVERAL)]
        parts = [vectors.load(builder.gep(row, [place])) for place in places]
        return [_larger(builder, *pair) for pair in zip(parts, tops, strict=True)]

    def one(i: Any, tops: list[Any]) -> list[Any]:
        return [_larger(builder, builder.load(builder.gep(row, [i])), tops[0])]

    tops = emit_loop(
        builder, (INDEX(0), whole, _SEVERAL * lanes), _SEVERAL * [vectors.splat(first)], several
    )
    found = _across(builder, vectors, tops)
    builder.store(emit_loop(builder, (whole, length, 1), [found], one)[0], out)
    builder.ret_void()
    return function


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _across(builder: Any, vectors: Vectors, tops: list[Any]) -> Any:
    """The largest of all lanes of some vectors."""
    while len(tops) > 1:
        tops = [_larger(builder, *tops[:2]), *tops[2:]]
    top, apart = tops[0], vectors.lanes
    while apart > 1:
        apart //= 2
        turned = vectors.shuffle(
            top, top, [(i + apart) % vectors.lanes for i in range(vectors.lanes)]
        )
        top = _larger(builder, top, turned)
    return builder.extract_element(top, ir.IntType(32)(0))
