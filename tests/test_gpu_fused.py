"""Routed layers in one pass on the GPU, emulated, against what they are composed of."""

from typing import Any

import numpy as np
import pytest
from gpu_cases import Held
from gpu_fused import Composed, GivenScan
from gpu_routing import (
    CASES,
    DTYPES,
    HEADS,
    WIDTHS,
    Case,
    assert_near,
    cuts,
    double,
    down,
    flat,
    gpu,
    normal,
    same_bits,
    up,
)

import mcore
from mcore.axes import make_recurrence
from mcore.backend import Stored
from mcore.backends.cupy_gpu.emulation.array import traffic
from mcore.backends.cupy_gpu.fused import Scans, fused_layer
from mcore.errors import BackendError
from mcore.recurrence import Recurrence
from mcore.router import Pool, Router
from mcore.testing.gradcheck import check_pair
from mcore.testing.strategies import Example, Sizes

NORMALIZED = {"kind": "linear", "normalize": True}
PLAIN, DIVIDED, INSIDE = (make_recurrence(axis) for axis in ("gla", NORMALIZED, "swla"))
LAYERS = {
    "all": (PLAIN, Router()),
    "all, inside a larger state": (INSIDE, Router(online="outside", pool="sum")),
    "all, divided": (DIVIDED, Router()),
    "all, divided, online outside": (DIVIDED, Router(online="outside")),
    "all, detached": (PLAIN, Router(detach=True)),
    "best": (PLAIN, Router(top_k=1)),
    "two best, inside a larger state": (INSIDE, Router(top_k=2, pool="sum")),
    "three best, online outside": (PLAIN, Router(top_k=3, online="outside")),
    "two best, detached": (PLAIN, Router(top_k=2, detach=True)),
}


def layer_arrays(
    case: Case, rule: Recurrence, dtype: str, widths: tuple[int, int] | None = None
) -> Any:
    """(inputs, queries, stored) of a layer whose scan is given, and gradients of its answer."""
    rng, segments = np.random.default_rng(0), cuts(case)
    keys, values = widths or WIDTHS[dtype]
    extra = rule.kind == "swla", rule.kind == "swla" or not rule.linear_read
    lead = (case.rows, case.tokens, HEADS)
    q, k, u = (normal(rng, dtype, *lead, keys) for _ in range(3))
    shape = (case.rows, case.cached + segments.count, HEADS, keys + extra[0], values + extra[1])
    states = normal(rng, dtype, *shape)
    if not rule.linear_read:
        q, states[..., -1] = 0.2 + abs(q), 0.2 + abs(states[..., -1])
    states = states.reshape(*shape[:3], -1)
    cached, ends = states[:, : case.cached].copy(), states[:, case.cached :].copy()
    before = normal(rng, dtype, case.rows, HEADS, keys)
    before[segments.offset == 0] = 0
    pool = Pool(normal(rng, dtype, case.rows, case.cached, HEADS, keys), before)
    inputs = {"q": q, "k": k, "reads": normal(rng, dtype, *lead, values), "ends": ends}
    d_contexts = normal(rng, dtype, case.rows, segments.count, HEADS, keys)
    d_answer = normal(rng, dtype, *lead, values), normal(rng, dtype, *ends.shape), d_contexts
    return (inputs, u, Stored(None, cached, pool)), d_answer


def made(backend: Any, rule: Recurrence, router: Router) -> Any:
    """The layer on the GPU, its scan given."""
    scans = GivenScan()
    layer = fused_layer(backend.device, rule, router, Scans(scans.scan, scans.scan_backward))
    assert layer is not None
    return layer


def both_ways(case: Case, layer: tuple[Recurrence, Router], arrays: Any, seed: int = 1) -> Any:
    """What the layer and its backward give, on the GPU."""
    backend = gpu(seed)
    arguments, d_answer = up(backend, arrays)
    fused = made(backend, *layer)
    answer, saved = fused.forward(*(*arguments, cuts(case)))
    return down(backend, (answer, fused.backward(saved, *d_answer)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_layer_is_its_operations(case: Case, layer: Any, dtype: str) -> None:
    arrays = layer_arrays(case, layer[0], dtype)
    arguments, d_answer = double(arrays)
    composed = Composed(layer[0], layer[1], GivenScan())
    answer, saved = composed.forward(*(*arguments, cuts(case)))
    want = answer, composed.backward(saved, *d_answer)
    assert_near(both_ways(case, layer, arrays), want, dtype)


DOCUMENTS = np.array([[5] * 7 + [6] + [7] * 12 + [8] * 3, [1] * 18 + [2] * 2 + [-1] * 3])


@pytest.mark.parametrize("readout", ["grm", "soup", {"kind": "ssc", "top_k": 2}], ids=str)
@pytest.mark.parametrize("start", ["independent", "checkpoint"])
def test_documents_and_states(start: str, readout: Any) -> None:
    """Two calls, the second of which goes on from the first, and back through both."""
    axes: Any = {
        "recurrence": "gated_delta",
        "segmentation": {"kind": "constant", "length": 4},
        "readout": readout,
        "start": start,
    }
    example, backend = Example(axes, Sizes(2, 23, 2, 16, 16), 0), Held("float64")
    memory = mcore.memory(**axes, backend=backend, dtype="float64")
    first, second = example.pieces([11, 12])
    _, saved = memory.forward(first, document=DOCUMENTS[:, :11])
    _, then = memory.forward(second, saved.end, document=DOCUMENTS[:, 11:])
    d_end = memory.backward(then, example.dy[:, 11:])["state"]
    memory.backward(saved, example.dy[:, :11], d_end)
    assert backend.compared == {"fused", "fused_backward"}


@pytest.mark.parametrize("name", ["all, divided", "two best, inside a larger state"])
def test_backward_is_the_derivative(name: str) -> None:
    case, layer, backend = CASES["two tokens, the first of an open segment"], LAYERS[name], gpu()
    (inputs, u, stored), _ = layer_arrays(case, layer[0], "float64")
    fused, (_, states, pool) = made(backend, *layer), stored
    named = {**inputs, "u": u, "states": states, "contexts": pool.contexts, "keys": pool.keys}

    def forward(*arrays: Any) -> Any:
        *given, u, states, contexts, keys = up(backend, arrays)
        x = dict(zip(inputs, given, strict=True))
        stored = Stored(None, states, Pool(contexts, keys))
        answer, saved = fused.forward(x, u, stored, cuts(case))
        return tuple(down(backend, answer)), saved

    def backward(saved: Any, *d_answer: Any) -> Any:
        found = down(backend, fused.backward(saved, *up(backend, d_answer)))
        given = tuple(found.inputs[name] for name in inputs)
        return *given, found.queries, found.stored.checkpoints, *found.stored.pool

    check_pair(forward, backward, named)


@pytest.mark.parametrize("name", ["all, divided", "two best, inside a larger state"])
def test_any_order_of_threads_gives_the_same_bits(name: str) -> None:
    case, layer = CASES["more than a block of tokens"], LAYERS[name]
    arrays = layer_arrays(case, layer[0], "float32")
    assert same_bits([both_ways(case, layer, arrays, seed) for seed in (0, 1, 7)])


@pytest.mark.parametrize("name", ["all, divided", "best"])
def test_a_second_call_waits_for_nothing(name: str) -> None:
    case, layer, backend = CASES["ragged"], LAYERS[name], gpu()
    arguments, d_answer = up(backend, layer_arrays(case, layer[0], "float64"))
    fused = made(backend, *layer)
    for _ in range(2):
        traffic.reset()
        _, saved = fused.forward(*(*arguments, cuts(case)))
        fused.backward(saved, *d_answer)
    assert (traffic.down, traffic.up) == (0, 0)


def test_many_readers_of_one_checkpoint() -> None:
    """All tokens choose the same checkpoint, whose readers several blocks share."""
    case, layer = Case(1, 300, {"kind": "constant", "length": 100}), LAYERS["best"]
    (inputs, u, stored), d_answer = layer_arrays(case, layer[0], "float64")
    inputs["k"][:, :100] += 3
    arrays = (inputs, 3 + 0 * u, stored), d_answer
    composed = Composed(layer[0], layer[1], GivenScan())
    answer, saved = composed.forward(*(*arrays[0], cuts(case)))
    want = answer, composed.backward(saved, *d_answer)
    assert_near(both_ways(case, layer, arrays), want, "float64")


@pytest.mark.parametrize(
    ("rule", "router", "fused"),
    [
        ("delta", Router(), True),
        (NORMALIZED, Router(), True),
        (NORMALIZED, Router(top_k=2), False),
        ("delta", Router(top_k=2, seed=1), False),
        ("delta", Router(top_k=99), False),
        ("lstm", Router(), False),
    ],
    ids=str,
)
def test_what_is_fused(rule: Any, router: Router, fused: bool) -> None:
    assert (gpu().fused(make_recurrence(rule), router) is not None) == fused


def test_gradients_of_the_ends_may_be_missing() -> None:
    case, layer, backend = CASES["ragged"], LAYERS["all"], gpu()
    arguments, (dy, d_states, d_contexts) = up(backend, layer_arrays(case, layer[0], "float64"))
    fused = made(backend, *layer)
    _, saved = fused.forward(*(*arguments, cuts(case)))
    missing = flat(down(backend, fused.backward(saved, dy, None, None)))
    zero = flat(down(backend, fused.backward(saved, dy, 0 * d_states, 0 * d_contexts)))
    assert all(np.array_equal(a, b) for a, b in zip(missing, zero, strict=True))


WIDE = {
    "all, divided": (DIVIDED, Router()),
    "best": (PLAIN, Router(top_k=1)),
}


@pytest.mark.parametrize("layer", WIDE.values(), ids=WIDE.keys())
def test_wide_heads_come_in_slabs(layer: Any) -> None:
    """States that a block cannot hold at once."""
    case = Case(1, 9, {"kind": "constant", "length": 4})
    arrays = layer_arrays(case, layer[0], "float64", (70, 66))
    (inputs, u, stored), d_answer = arrays
    composed = Composed(layer[0], layer[1], GivenScan())
    answer, saved = composed.forward(inputs, u, stored, cuts(case))
    want = answer, composed.backward(saved, *d_answer)
    assert_near(both_ways(case, layer, arrays), want, "float64")


def test_heads_that_are_too_wide_are_refused() -> None:
    case, layer, backend = CASES["ragged"], LAYERS["all"], gpu()
    arguments, _ = up(backend, layer_arrays(case, layer[0], "float32", (300, 2)))
    with pytest.raises(BackendError, match="300 and 2 channels per head are too wide"):
        made(backend, *layer).forward(*(*arguments, cuts(case)))
