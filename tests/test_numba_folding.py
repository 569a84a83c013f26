"""IR without detours says what IR with detours says: what is known is known for certain."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from llvmlite import ir

from mcore.backends.numba_cpu.caching import kernel
from mcore.backends.numba_cpu.folding import FoldingBuilder, sweep

WORD = ir.IntType(64)
PAIR = ir.LiteralStructType([WORD, WORD])


@pytest.fixture
def function() -> Any:
    """A function of two words."""
    return ir.Function(ir.Module(), ir.FunctionType(WORD, [WORD, WORD]), "f")


@pytest.fixture
def builder(function: Any) -> FoldingBuilder:
    """A builder at the function's begin."""
    return FoldingBuilder(function.append_basic_block())


def part(builder: FoldingBuilder, pair: Any, index: int) -> Any:
    """The address of a part of a pair."""
    zero, at = (ir.Constant(ir.IntType(32), number) for number in (0, index))
    return builder.gep(pair, [zero, at])


def other(builder: FoldingBuilder, *types: Any) -> Any:
    """Some function that may do anything with its arguments."""
    return ir.Function(builder.module, ir.FunctionType(ir.VoidType(), types), "g")


def test_what_was_stored_or_packed_is_known(function: Any, builder: FoldingBuilder) -> None:
    a, b = function.args
    pair = builder.alloca(PAIR)
    builder.store(ir.Constant(PAIR, None), pair)
    builder.store(a, part(builder, pair, 0))
    builder.store(b, part(builder, pair, 1))
    assert builder.load(part(builder, pair, 0)) is a
    assert builder.extract_value(builder.load(pair), 1) is b
    builder.store(a, part(builder, pair, 1))
    assert builder.load(part(builder, pair, 1)) is a
    builder.ret(a)
    sweep(function)
    assert [x.opname for x in builder.block.instructions] == ["ret"]


@pytest.mark.parametrize("address", ["whole", "part", "cast", "stored"])
def test_who_has_the_address_may_write(
    function: Any, builder: FoldingBuilder, address: str
) -> None:
    a, pair = function.args[0], builder.alloca(PAIR)
    builder.store(ir.Constant(PAIR, None), pair)
    builder.store(a, part(builder, pair, 0))
    given = part(builder, pair, 0) if address == "part" else pair
    if address == "cast":
        given = builder.bitcast(pair, WORD.as_pointer())
    if address == "stored":
        given = builder.alloca(PAIR.as_pointer())
        builder.store(pair, given)
    builder.call(other(builder, given.type), [given])
    for _ in range(2):
        assert isinstance(builder.load(part(builder, pair, 0)), ir.LoadInstr)
        builder.store(a, part(builder, pair, 0))
    builder.ret(builder.load(part(builder, pair, 0)))
    before = sum(x.opname == "store" for x in builder.block.instructions)
    sweep(function)
    assert sum(x.opname == "store" for x in builder.block.instructions) == before


def test_other_blocks_know_nothing(function: Any, builder: FoldingBuilder) -> None:
    word, after = builder.alloca(WORD), function.append_basic_block()
    builder.store(function.args[0], word)
    builder.branch(after)
    builder.position_at_end(after)
    assert isinstance(builder.load(word), ir.LoadInstr)


class Twins(NamedTuple):
    """Two arrays and a number."""

    a: Any
    b: Any
    step: int


@kernel
def weave(twins: Twins, turns: int, limit: float) -> tuple[float, int]:
    """Values that loops carry, branches choose, and later reads see as they were."""
    one, other = twins.a, twins.b
    last, count = 0.0, turns
    for turn in range(turns):
        if turn % 3 == twins.step:
            one, other = other, one
            count -= 1
        part, kept = one[turn:], last
        part[0] += kept + turn
        last = other[turn] - kept if part[0] > limit else part[0]
        while last > limit:
            last, kept = last / 2 + kept / 4, last / 8
            turns += 1
    return last + one[0], count + turns


@pytest.mark.parametrize("limit", [0.7, 1.5, 100.0])
def test_loops_and_branches_are_pythons(limit: float) -> None:
    ours = np.random.default_rng(0).random((2, 9)) + 0.5
    pythons = ours.copy()
    got = weave(Twins(ours[0], ours[1], 1), 8, limit)
    want = weave.py_func(Twins(pythons[0], pythons[1], 1), 8, limit)
    np.testing.assert_allclose(got, want, rtol=1e-14)
    np.testing.assert_allclose(ours, pythons, rtol=1e-14)
