"""Perceptrons and gates made of answers, decoded: the answers and states of one `forward`."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from harness import maker
from tolerances import tolerance

import mcore
from mcore.arrays import Array
from mcore.backend import get_backend
from mcore.backends.numba_cpu.caching import kernel
from mcore.backends.numba_cpu.decode_codes import Asked, viewed
from mcore.backends.numba_cpu.decode_dots import add_dots
from mcore.cache import MemoryState, compact, expand
from mcore.errors import InputError
from mcore.pool.rows import Rows
from mcore.testing import streaming
from mcore.testing.agreement import assert_agree
from mcore.testing.samples import sample_inputs
from mcore.testing.strategies import Example, Sizes

SIZES = Sizes(B=2, T=17, H=2, K=5, V=5)
SPLIT = [1, 3, *[1] * 5, 2, 4, 1, 1]
SAME = tolerance("float64", "same")
DEEP: tuple[Any, ...] = (
    *("dla", "titans", "yaad", "moneta", "memora"),
    *({"kind": kind, "chunk": 2} for kind in ("dla", "titans", "yaad")),
)
GATED: tuple[Any, ...] = (
    *("retention", "delta", "gla", "rwkv7", "swla", "mlstm", "lstm", "gru", "slstm"),
    {"kind": "linear", "normalize": True, "feature_map": "elu1"},
)
READOUTS: tuple[Any, ...] = (
    *("none", "residual", "sigmoid", "grm", "soup", {"kind": "ssc", "top_k": 2}),
    {"kind": "moving_average", "weights": "ema", "rate": 0.5},
    {"kind": "soup", "online": "outside", "pool": "sum", "temperature": True, "u": "shared"},
)
deep_rules = pytest.mark.parametrize("rule", DEEP, ids=str)


def composition(rule: Any, readout: Any, start: str = "checkpoint", **cache: Any) -> Any:
    """Segments of three tokens: a chunk of two ends in the middle of the second."""
    cut = {"kind": "constant", "length": 3}
    axes = {"recurrence": rule, "segmentation": cut, "readout": readout, "start": start}
    return {**axes, "cache": cache}


@kernel
def _add(codes: Any, place: Any, gates: Any, x: Any, scales: Any, y: Any) -> None:
    add_dots(codes, Asked(place[0], 1, gates, place[1], x, scales), y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("code", [None, "float16", "bfloat16", "int8"])
def test_products_of_stored_rows(dtype: str, code: Any) -> None:
    """Widths of odd numbers of vectors; rows that are left over."""
    rng = np.random.default_rng(1)
    for width in (16, 48, 64, 208):
        for tall in (1, 2, 7, 8, 33):
            x = rng.standard_normal((1, 3, 1, tall * width)).astype(dtype)
            stored, gates = compact(x, code, width), rng.random(4).astype(dtype)
            codes = viewed(stored.codes).reshape(3, tall, width)
            scales = stored.scales.reshape(-1).astype(dtype)
            right, y = rng.standard_normal(width).astype(dtype), rng.random(tall).astype(dtype)
            numbers = expand(stored, "float64").reshape(3, tall, width)[2]
            want = y + gates[1] * (numbers @ right)
            _add(codes, (2, 1), gates, right, scales, y)
            bound = 2e-6 if dtype == "float32" else 1e-14
            np.testing.assert_allclose(y, want, rtol=0, atol=bound * np.abs(want).max())


@deep_rules
@pytest.mark.parametrize("readout", READOUTS, ids=str)
def test_a_stream_of_a_perceptron(rule: Any, readout: Any) -> None:
    """Whatever starts a segment, with and without evictions; also on portable kernels."""
    for start, cache in (("checkpoint", {"limit": 2}), ("independent", {})):
        example = Example(composition(rule, readout, start, **cache), SIZES, seed=3)
        check(example)


@pytest.mark.parametrize("rule", GATED, ids=str)
def test_gates_made_of_answers(rule: Any) -> None:
    for start, cache in (("checkpoint", {"limit": 2}), ("independent", {})):
        sizes = SIZES._replace(V=4)
        check(Example(composition(rule, "sigmoid", start, **cache), sizes, seed=4))


def test_many_gates_made_of_answers() -> None:
    """More checkpoints than are asked at once, through a cache that grows."""
    sizes = Sizes(B=1, T=240, H=1, K=2, V=2)
    for rule in ("delta", "dla"):
        example = Example(composition(rule, "sigmoid"), sizes, seed=5)
        streaming.live_stream_equals_batch(maker("numba"), example, [1] * 240, 1e-9)


def check(example: Example, dtype: str = "float64", bound: float = SAME) -> None:
    """A stream decodes, and is what a forward is; a stream from its state is what it is."""
    memory = maker("numba", dtype)(example.composition)
    want, saved = memory.forward(example.inputs)
    stream, pieces = memory.stream(), example.pieces(SPLIT)
    fed = [stream.feed(piece) for piece in pieces[:6]]
    assert stream.decodes
    taken = memory.stream(stream.state)
    fed += [stream.feed(piece) for piece in pieces[6:]]
    assert_agree(np.concatenate(fed, axis=1), want, bound, "y")
    _same_state(stream.state, saved.end, bound)
    for piece, y in zip(pieces[6:], fed[6:], strict=True):
        assert_agree(taken.feed(piece), y, bound, "y of a stream that goes on from a state")


def _same_state(got: MemoryState | None, want: MemoryState, bound: float) -> None:
    assert got is not None
    for name in ("position", "length", "count"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    np.testing.assert_allclose(got.ledger, want.ledger, rtol=1e-9)
    ours, theirs = (expand(state.stored, "float64") for state in (got, want))
    pairs = [(ours, theirs), (got.online, want.online), (got.contexts, want.contexts)]
    for mine, other in pairs:
        assert mine.shape == other.shape
        if other.size:
            assert_agree(mine, other, bound, "state")


@pytest.mark.parametrize(
    ("rule", "code"), [("titans", "float16"), ("yaad", "bfloat16"), ("memora", "int8")]
)
def test_checkpoints_in_few_bytes(rule: str, code: str) -> None:
    """To the rounding of a checkpoint, whose last bit may go either way."""
    bound = {"float16": 2e-3, "bfloat16": 2e-2, "int8": 2e-2}[code]
    for readout in ("grm", "soup"):
        example = Example(composition(rule, readout, limit=3, dtype=code), SIZES, seed=6)
        check(example, "float32", bound)


@pytest.mark.parametrize("evict", ["merge", "least_used"])
@pytest.mark.parametrize("rule", ["gated_delta", "mlstm", "lstm", "titans", "moneta"])
def test_caches_that_choose_what_goes(rule: str, evict: str) -> None:
    """Books are kept in the middle of a segment, too."""
    for readout in ("grm", {"kind": "ssc", "top_k": 2}):
        for limit in (1, 3, None):
            axes = composition(rule, readout, limit=limit, evict=evict)
            check(Example(axes, SIZES, seed=10))
    if evict == "merge":
        check(Example(composition(rule, "residual", limit=2, evict=evict), SIZES, seed=11))


@pytest.mark.parametrize("rule", DEEP[:5])
@pytest.mark.parametrize(("keys", "width"), [(3, 150), (20, 2)])
def test_hidden_widths(rule: str, keys: int, width: int) -> None:
    """Several stripes of columns; fewer hidden units than keys."""
    example = Example(composition(rule, "grm"), SIZES._replace(K=keys, V=keys), seed=7)
    rng = np.random.default_rng(0)
    example.inputs["w_in"] = rng.standard_normal((2, keys, width)) / keys
    example.inputs["w_out"] = rng.standard_normal((2, width, keys)) / width
    check(example)


def test_moneta_from_nothing() -> None:
    """Weights that are zero, or nearly, until the first token makes them what they are."""
    for size in (0.0, 1e-30):
        example = Example(composition("moneta", "grm"), SIZES, seed=8)
        example.inputs["w_in"] *= size
        check(example)


@pytest.mark.parametrize("evict", ["oldest", "least_used"])
@deep_rules
def test_rows_of_a_pool(rule: Any, evict: str) -> None:
    """Streams that are fed by turns, leave, and come back in another place."""
    axes = composition(rule, "soup", limit=2, evict=evict)
    memory, sizes = (
        mcore.memory(**axes, backend="numba", dtype="float64"),
        Sizes(B=3, T=10, H=2, K=4, V=4),
    )
    example = Example(axes, sizes, seed=9)
    want, _ = memory.forward(example.inputs)
    rows, begun = Rows(memory, 4), np.zeros(3, np.int64)
    place = np.array([0, 2, 3])
    for turn in range(40):
        fed = np.flatnonzero((begun < sizes.T) & ((turn + np.arange(3)) % 3 > 0))
        if not len(fed):
            continue
        order = fed[np.argsort(place[fed])]
        rows.chosen = place[order]
        y = rows.feed(_tokens(example, order, begun[order]))
        assert rows.decodes
        assert_agree(y[:, 0], want[order, begun[order]], SAME, "y")
        begun[order] += 1
        if turn % 4 == 3:
            moved, free = turn % 3, ({0, 1, 2, 3} - set(place.tolist())).pop()
            rows.put(free, rows.take(place[moved]))
            rows.put(place[moved], None)
            place[moved] = free
    assert (begun == sizes.T).all()


def _tokens(example: Example, rows: Array, begun: Array) -> dict[str, Array]:
    """A token of each of some rows, from places of their own."""
    return {
        name: x[rows, begun][:, None] if "T" in example.declared[name].split() else x
        for name, x in example.inputs.items()
    }


@pytest.mark.parametrize("rule", [{"kind": "titans", "chunk": 2}, "moneta"], ids=str)
def test_documents(rule: Any) -> None:
    """Chunks are counted from the segment's start, and segments from the document's."""
    example = Example(composition(rule, "grm"), SIZES, seed=12)
    document = np.repeat([[0, 1, 2]], [5, 5, 7], axis=1).repeat(2, axis=0)
    memory, begin, found = maker("numba")(example.composition), 0, list[Array]()
    want, _ = memory.forward(example.inputs, document=document)
    stream = memory.stream()
    for length in (3, 1, 1, 1, 1, 2, 1, 7):
        ids = document[:, begin : begin + length]
        given = None if (ids == document[:, max(begin - 1, 0)][:, None]).all() else ids
        piece = example.pieces([begin, length])[1] if begin else example.pieces([length])[0]
        found.append(stream.feed(piece, document=ids if begin == 0 else given))
        begin += length
    assert_agree(np.concatenate(found, axis=1), want, SAME, "y")


@pytest.mark.parametrize("rule", ["dla", "memora"])
def test_a_refused_token_changes_nothing(rule: str) -> None:
    example = Example(composition(rule, "grm"), SIZES, seed=1)
    memory = maker("numba")(example.composition)
    want, _ = memory.forward(example.inputs)
    stream, found = memory.stream(), list[Array]()
    for token in example.pieces([1] * SIZES.T):
        infinite = {**token, "log_decay": np.full_like(token["log_decay"], -np.inf)}
        if found:
            with pytest.raises(InputError):
                stream.feed(infinite)
        found.append(stream.feed(token))
    assert_agree(np.concatenate(found, axis=1), want, SAME, "y")


@pytest.mark.parametrize(
    ("rule", "readout"), [({"kind": "titans", "chunk": 2}, "grm"), ("memora", "grm")], ids=str
)
def test_nothing_is_kept_or_compiled_on_the_way(rule: Any, readout: Any) -> None:
    axes = composition(rule, readout, limit=3)
    memory = maker("numba")(axes)
    token = sample_inputs(axes, Sizes(1, 1, 1, 4, 4), 0)
    stream = memory.stream()
    with get_backend("numba").compiler.watch() as compiled:  # type: ignore[attr-defined]
        stream.feed(token)
        kernels = len(compiled)
        for _ in range(200):
            stream.feed(token)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            stream.feed(token)
        held = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert len(compiled) == kernels
    assert held < 20_000
