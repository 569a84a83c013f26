"""Emit, as LLVM IR, the search for the four best of many logits: lanes are tokens.

The four best so far stay in registers while the columns go by. Whoever wants more than four asks
again for the next ones: only what comes after a bound (a value and its column) is looked at.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from mcore.backends.numba_cpu.gemm_emit import phi
from mcore.backends.numba_cpu.vectors import INDEX, Vectors, outlined

SLOTS = 4
_COLUMN = ir.IntType(32)


def emit_select(module: Any, element: Any, lanes: int) -> Any:
    """The function `(logits, row, C, n, first, best, best_row, columns, columns_row, slots, bound,
    bound_column)`.

    Fills min(slots, 4) rows of best and columns for n tokens; bound and bound_column (n,) hold the
    last ones that were found before.
    """
    name = f"mcore_select_{element.intrinsic_name}"
    place, number = element.as_pointer(), _COLUMN.as_pointer()
    arguments = [place, *[INDEX] * 4, place, INDEX, number, INDEX, INDEX, place, number]
    function, builder = outlined(module, name, arguments)
    if builder is None:
        return function
    values, columns = Vectors(builder, element, lanes), Vectors(builder, _COLUMN, lanes)
    tokens, step = function.args[3], INDEX(lanes)
    with cgutils.for_range_slice(builder, INDEX(0), tokens, step, inc=True) as (t, _):
        _emit_tokens(builder, function.args, (values, columns), t)
    builder.ret_void()
    return function


def _emit_tokens(builder: Any, args: Any, kinds: Any, t: Any) -> None:
    """All columns for the tokens of one vector."""
    values, columns = kinds
    logits, row, count, tokens, first, *targets, slots, bound, bound_column = args
    mask = values.first(builder.sub(tokens, t))
    limit = values.load(builder.gep(bound, [t]), mask)
    limit_column = columns.load(builder.gep(bound_column, [t]), mask)
    entry = builder.block
    head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    i = phi(builder, INDEX, INDEX(0), entry)
    least, nobody = values.constant(float("-inf")), columns.constant(-1)
    best = [phi(builder, values.type, least, entry) for _ in range(SLOTS)]
    found = [phi(builder, columns.type, nobody, entry) for _ in range(SLOTS)]
    builder.cbranch(builder.icmp_signed("<", i, count), body, done)
    builder.position_at_end(body)
    x = values.load(builder.gep(logits, [builder.add(builder.mul(i, row), t)]), mask)
    column = columns.splat(builder.trunc(builder.add(first, i), _COLUMN))
    after = builder.or_(
        builder.fcmp_ordered("<", x, limit),
        builder.and_(
            builder.fcmp_ordered("==", x, limit), builder.icmp_signed(">", column, limit_column)
        ),
    )
    x = builder.select(after, x, least)
    for slot, (value, place) in enumerate(_inserted(builder, (x, column), best, found)):
        best[slot].add_incoming(value, body)
        found[slot].add_incoming(place, body)
    i.add_incoming(builder.add(i, INDEX(1)), body)
    builder.branch(head)
    builder.position_at_end(done)
    for slot in range(SLOTS):
        with builder.if_then(builder.icmp_signed(">", slots, INDEX(slot))):
            _store(builder, kinds, targets, (slot, t, mask), (best[slot], found[slot]))


def _inserted(builder: Any, offer: Any, best: list[Any], found: list[Any]) -> list[Any]:
    """The slots after an offer: equals that came before stay before it."""
    x, column = offer
    beats = [builder.fcmp_ordered(">", x, value) for value in best]
    result = []
    for slot in range(SLOTS):
        value = builder.select(beats[slot], x, best[slot])
        place = builder.select(beats[slot], column, found[slot])
        if slot:
            value = builder.select(beats[slot - 1], best[slot - 1], value)
            place = builder.select(beats[slot - 1], found[slot - 1], place)
        result.append((value, place))
    return result


def _store(builder: Any, kinds: Any, targets: Any, where: Any, pair: Any) -> None:
    (values, columns), (slot, t, mask) = kinds, where
    best, best_row, numbers, numbers_row = targets
    for kind, target, row, vector in (
        (values, best, best_row, pair[0]),
        (columns, numbers, numbers_row, pair[1]),
    ):
        offset = builder.add(builder.mul(INDEX(slot), row), t)
        kind.store(vector, builder.gep(target, [offset]), mask)
