"""mcore inside JAX: beside mcore's own gradients, and beside JAX's of an implementation in jnp."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import mcore
from mcore.testing.strategies import Composition, Example, Sizes, examples

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from mcore.interop.jax import JaxMemory, JaxModel, State, start_parameters  # noqa: E402

few = settings(
    max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
Arrays = dict[str, Any]
CLOSE = 1e-10
"""float64, and the same kernels either way."""


@pytest.fixture(autouse=True, scope="module")
def wide() -> Iterator[None]:
    """JAX with 64-bit numbers."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def composed(recurrence: Any = "gated_delta", **axes: Any) -> Composition:
    usual = {"segmentation": {"kind": "constant", "length": 3}, "readout": "grm"}
    return {"recurrence": recurrence, "start": "independent", **usual, **axes}  # type: ignore[typeddict-item]


def layer_of(composition: Composition, dtype: str = "float64") -> JaxMemory:
    return JaxMemory(mcore.memory(**composition, backend="reference", dtype=dtype))


def example_of(composition: Composition, tokens: int = 8) -> Example:
    return Example(composition, Sizes(2, tokens, 2, 3, 3), 1)


def projected(layer: Callable[[Arrays], Any], dy: Any) -> Callable[[Arrays], Any]:
    """A loss whose gradient of y is dy."""
    return lambda inputs: jnp.sum(layer(inputs) * dy)


def assert_close(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, x in wanted.items():
        scale = max(float(np.abs(x).max(initial=0)), 1.0)
        np.testing.assert_allclose(found[name], x, atol=CLOSE * scale, err_msg=name)


def own_gradients(layer: JaxMemory, inputs: Arrays, dy: Any) -> Arrays:
    _, saved = layer.memory.forward(inputs)
    return layer.memory.backward(saved, dy)


@few
@given(example=examples())
def test_jitted_gradients_are_mcores_own(example: Example) -> None:
    layer = layer_of(example.composition)
    y, saved = layer.memory.forward(example.inputs)
    np.testing.assert_array_equal(layer(example.inputs), y)
    found = jax.jit(jax.grad(projected(layer, example.dy)))(example.inputs)
    assert_close(found, layer.memory.backward(saved, example.dy))


def linear_grm(inputs: Arrays, length: int) -> Any:
    """Linear attention with gated reads of its checkpoints, from the paper's equations in jnp."""
    q, k, v, u = (inputs[name] for name in "qkvu")
    tokens = q.shape[1]
    segment = np.arange(tokens) // length
    past = np.arange(tokens)[:, None] >= np.arange(tokens)
    mates = past & (segment[:, None] == segment)
    count = int(segment[-1]) + 1
    ones = np.eye(count)[segment]
    contexts = jnp.einsum("bthk,ts->bshk", k, ones) / ones.sum(axis=0)[:, None, None]
    running = jnp.einsum("ij,bjhk->bihk", mates / mates.sum(axis=1, keepdims=True), k)
    logits = jnp.einsum("bthk,bshk->bths", u, contexts)
    logits = jnp.where((np.arange(count) < segment[:, None])[:, None], logits, -jnp.inf)
    own = jnp.sum(u * running, axis=-1, keepdims=True)
    gates = jax.nn.softmax(jnp.concatenate([logits, own], -1) / q.shape[-1] ** 0.5)
    states = jnp.einsum("bthk,bthv,ts->bshkv", k, v, ones)
    cached = jnp.einsum("bths,bshkv,bthk->bthv", gates[..., :-1], states, q)
    scores = jnp.einsum("bihk,bjhk->bihj", q, k) * mates[:, None]
    return cached + gates[..., -1:] * jnp.einsum("bihj,bjhv->bihv", scores, v)


def test_gradients_are_those_of_an_implementation_in_jnp() -> None:
    example = example_of(composed("linear"), tokens=11)
    layer = JaxMemory(mcore.memory(**example.composition, backend="numba", dtype="float64"))
    theirs = jax.jit(lambda inputs: linear_grm(inputs, 3))
    np.testing.assert_allclose(layer(example.inputs), theirs(example.inputs), atol=CLOSE)
    ours = jax.jit(jax.grad(projected(layer, example.dy)))(example.inputs)
    assert_close(ours, jax.jit(jax.grad(projected(theirs, example.dy)))(example.inputs))


def scanned(layer: JaxMemory, length: int) -> Callable[[Arrays], Any]:
    """The layer as a scan over pieces of `length` tokens."""

    def run(inputs: Arrays) -> Any:
        tokens = inputs["q"].shape[1]
        by_token = {n for n, axes in layer.inputs.items() if "T" in axes.split()}
        pieces = {n: jnp.stack(jnp.split(inputs[n], tokens // length, 1)) for n in by_token}
        whole = {n: x for n, x in inputs.items() if n not in by_token}

        def piece(state: State, part: Arrays) -> tuple[State, Any]:
            y, state = layer.step(part | whole, state)
            return state, y

        start = layer.start({n: inputs[n] for n in layer.inputs}, tokens=tokens)
        _, ys = jax.lax.scan(piece, start, pieces)
        return jnp.concatenate(list(ys), axis=1)

    return run


def assert_scans(example: Example, length: int) -> None:
    """y and all gradients of a scan are those of one call."""
    layer = layer_of(example.composition)

    def loss(inputs: Arrays) -> Any:
        y = scanned(layer, length)(inputs)
        return jnp.sum(y * example.dy), y

    found, y = jax.jit(jax.grad(loss, has_aux=True))(example.inputs)
    np.testing.assert_allclose(y, layer(example.inputs), atol=CLOSE)
    assert_close(found, own_gradients(layer, example.inputs, example.dy))


CACHES: list[tuple[dict[str, Any], int]] = [
    ({}, 1),
    ({"limit": 2, "evict": "merge"}, 1),
    ({"limit": 1, "evict": "least_used"}, 4),
    ({"dtype": "int8"}, 4),
    ({"dtype": "bfloat16", "limit": 2}, 2),
]


@pytest.mark.parametrize(("cache", "length"), CACHES, ids=str)
def test_a_scan_over_pieces_is_one_long_sequence(cache: dict[str, Any], length: int) -> None:
    cuts = {"kind": "constant", "length": 2}
    assert_scans(example_of(composed(cache=cache, segmentation=cuts)), length)


OTHERS: list[tuple[str, Any]] = [
    ("mlstm", "residual"),
    ("dla", {"kind": "ssc", "top_k": 1}),
    ("swla", "none"),
]


@pytest.mark.parametrize(("recurrence", "readout"), OTHERS, ids=str)
def test_other_memories_scan_too(recurrence: str, readout: Any) -> None:
    assert_scans(example_of(composed(recurrence, readout=readout, start="checkpoint")), 4)


def test_the_end_of_a_state_has_a_gradient() -> None:
    """What is read from the last state, its checkpoints and contexts included."""
    example = example_of(composed("linear"))
    layer = layer_of(example.composition)

    def end(inputs: Arrays) -> Any:
        _, state = layer.step(inputs, layer.start(inputs, tokens=8))
        return jnp.sum(state.online**2) + jnp.sum(state.checkpoints**2) + jnp.sum(state.contexts)

    def by_hand(inputs: Arrays) -> Any:
        k, v = inputs["k"], inputs["v"]
        parts = [slice(0, 3), slice(3, 6), slice(6, 8)]
        sums = [jnp.einsum("bthk,bthv->bhkv", k[:, p], v[:, p]) for p in parts]
        return sum(jnp.sum(s**2) for s in sums) + jnp.sum(k[:, :6]) / 3 + 0 * jnp.sum(inputs["q"])

    assert_close(jax.jit(jax.grad(end))(example.inputs), jax.grad(by_hand)(example.inputs))


def batch_of(example: Example, copies: int = 3) -> Arrays:
    """The inputs, and others near them, stacked."""
    return {n: jnp.stack([x * 0.9**i for i in range(copies)]) for n, x in example.inputs.items()}


def at(inputs: Arrays, i: int, shared: frozenset[str] = frozenset()) -> Arrays:
    return {n: x if n in shared else x[i] for n, x in inputs.items()}


def counted(layer: JaxMemory, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the first input of every forward that the memory runs from now on."""
    calls: list[tuple[int, ...]] = []
    forward = layer.memory.forward

    def spy(inputs: Arrays, state: Any = None, *, document: Any = None) -> Any:
        calls.append(next(iter(inputs.values())).shape)
        return forward(inputs, state, document=document)

    monkeypatch.setattr(layer.memory, "forward", spy)
    return calls


def test_a_mapped_axis_is_one_call_with_more_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    example = example_of(composed())
    layer, many = layer_of(example.composition), batch_of(example)
    wanted = jnp.stack([layer(at(many, i)) for i in range(3)])
    calls = counted(layer, monkeypatch)
    np.testing.assert_allclose(jax.jit(jax.vmap(layer))(many), wanted, atol=CLOSE)
    assert calls == [(6, 8, 2, 3)]
    shared = {n: many[n] if n in ("q", "u") else many[n][0] for n in many}
    axes = ({n: 0 if n in ("q", "u") else None for n in many},)
    part = jax.vmap(layer, axes)(shared)
    for i in range(3):
        np.testing.assert_allclose(part[i], layer(shared | {n: many[n][i] for n in "qu"}))


def test_nested_maps_fold_both_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    example = example_of(composed())
    layer, many = layer_of(example.composition), batch_of(example, copies=2)
    wide = {n: jnp.stack([x, 0.5 * x, 0.25 * x], axis=1) for n, x in many.items()}
    calls = counted(layer, monkeypatch)
    y = jax.jit(jax.vmap(jax.vmap(layer, in_axes=0), in_axes=0))(wide)
    assert calls == [(12, 8, 2, 3)]
    np.testing.assert_allclose(y[1, 2], layer({n: x[1, 2] for n, x in wide.items()}), atol=CLOSE)


@pytest.mark.parametrize(
    ("recurrence", "shared"), [("gated_delta", False), ("retention", False), ("retention", True)]
)
def test_maps_and_gradients_in_any_order(recurrence: str, shared: bool) -> None:
    """With parameters mapped, or the same for all: then each place has its own gradient of them."""
    example = example_of(composed(recurrence), tokens=5)
    layer, many = layer_of(example.composition), batch_of(example)
    parameters = frozenset(n for n, axes in layer.inputs.items() if "T" not in axes.split())
    held = parameters if shared else frozenset()
    many |= {n: many[n][0] for n in held}
    axes = ({n: None if n in held else 0 for n in many},)
    loss = projected(layer, example.dy)
    each = [own_gradients(layer, at(many, i, held), example.dy) for i in range(3)]
    inside = jax.jit(jax.vmap(jax.grad(loss), axes))(many)
    assert_close(inside, {n: np.stack([one[n] for one in each]) for n in many})
    outside = jax.jit(jax.grad(lambda x: jax.vmap(loss, axes)(x).sum()))(many)
    sums = {n: inside[n].sum(axis=0) if n in held else inside[n] for n in many}
    assert_close(outside, sums)


def test_a_jacobian_maps_backward_alone() -> None:
    example = example_of(composed(), tokens=3)
    layer, x = layer_of(example.composition), example.inputs
    found = jax.jit(jax.jacrev(lambda v: layer(x | {"v": v})))(x["v"])
    one = np.zeros(example.dy.shape)
    one[1, 2, 0, 1] = 1.0
    wanted = own_gradients(layer, x, one)["v"]
    np.testing.assert_allclose(found[1, 2, 0, 1], wanted, atol=CLOSE)


def test_a_mapped_scan_and_rematerialisation() -> None:
    example = example_of(composed())
    layer, many = layer_of(example.composition), batch_of(example)
    loss = projected(jax.checkpoint(scanned(layer, 2)), example.dy)
    found = jax.jit(jax.vmap(jax.grad(loss)))(many)
    for i in range(3):
        one = {n: x[i] for n, x in found.items()}
        assert_close(one, own_gradients(layer, at(many, i), example.dy))


def test_cuts_given_row_by_row_are_mapped_one_by_one() -> None:
    composition = composed(segmentation={"kind": "given", "lengths": [[3, 5], [8]]})
    example = example_of(composition)
    layer, many = layer_of(composition), batch_of(example)
    y = jax.vmap(layer)(many)
    np.testing.assert_allclose(y[2], layer(at(many, 2)), atol=CLOSE)


def test_documents() -> None:
    example = example_of(composed())
    layer = layer_of(example.composition)
    ids = np.array([[0, 0, 0, 0, 0, 1, 1, 1], [4, 4, 5, 5, 5, 5, 5, -1]])
    y, saved = layer.memory.forward(example.inputs, document=ids)
    np.testing.assert_array_equal(layer(example.inputs, document=ids), y)
    loss = lambda x: jnp.sum(layer(x, document=ids) * example.dy)  # noqa: E731
    assert_close(jax.jit(jax.grad(loss))(example.inputs), layer.memory.backward(saved, example.dy))
    found = jax.vmap(lambda i: layer(example.inputs, document=i))(jnp.stack([ids, 0 * ids]))
    np.testing.assert_allclose(found[0], y, atol=CLOSE)
    np.testing.assert_allclose(found[1], layer(example.inputs), atol=CLOSE)


def test_narrow_numbers_are_converted_and_get_gradients_of_their_own() -> None:
    example = example_of(composed())
    layer = layer_of(example.composition, "float32")
    narrow = {n: jnp.asarray(x, jnp.bfloat16) for n, x in example.inputs.items()}
    y = layer(narrow)
    assert y.dtype == jnp.float32
    np.testing.assert_array_equal(y, layer({n: x.astype("float32") for n, x in narrow.items()}))
    for gradient in jax.grad(lambda x: jnp.sum(layer(x)))(narrow).values():
        assert gradient.dtype == jnp.bfloat16


def test_parameters_start_as_in_a_model() -> None:
    layer = layer_of(composed("gru"))
    held = start_parameters(layer.memory, 2, 3, 4)
    assert {n: x.shape for n, x in held.items()} == {
        "recurrent": (2, 4, 12),
        "recurrent_bias": (2, 4),
    }


def test_second_derivatives_are_refused() -> None:
    example = example_of(composed(), tokens=2)
    loss = projected(layer_of(example.composition), example.dy)
    for second in (jax.jacfwd, jax.jacrev):
        with pytest.raises(mcore.InputError, match="second derivatives"):
            jax.jit(second(jax.grad(loss)))(example.inputs)


def test_mistakes_are_told_while_tracing() -> None:
    layer = layer_of(composed())
    x = example_of(composed()).inputs
    with pytest.raises(mcore.InputError, match="beta missing"):
        jax.jit(layer)({n: a for n, a in x.items() if n != "beta"})
    with pytest.raises(mcore.ShapeError, match=r"v: shape \(2, 7, 2, 3\)"):
        jax.jit(layer)(x | {"v": x["v"][:, :7]})
    with pytest.raises(mcore.InputError, match="q: holds complex128"):
        layer(x | {"q": x["q"] * 1j})
    with pytest.raises(mcore.SpecError, match="tokens: the cache grows"):
        layer.start(x)
    with pytest.raises(mcore.SpecError, match="logarithmic cuts"):
        layer_of(composed(segmentation="logarithmic")).start(x, tokens=8)
    state = layer.start(x, tokens=8)
    with pytest.raises(mcore.ShapeError, match=r"state.online: float64 \(2, 2, 9\)"):
        layer.step({n: a[:1] for n, a in x.items()}, state)
    with pytest.raises(mcore.InputError, match="state: a NoneType"):
        layer.step(x, None)  # type: ignore[arg-type]


def test_mistakes_in_the_numbers_are_told_by_mcore() -> None:
    layer = layer_of(composed())
    x = example_of(composed()).inputs
    lost = x | {"log_decay": x["log_decay"] - np.inf}
    with pytest.raises(mcore.InputError, match="log_decay: has -inf"):
        layer(lost)
    with pytest.raises(jax.errors.JaxRuntimeError, match="log_decay: has -inf"):
        jax.block_until_ready(jax.jit(layer)(lost))
    _, state = layer.step(x, layer.start(x, tokens=8))
    with pytest.raises(mcore.InputError, match="room for 2"):
        layer.step(x, state)


def test_wide_memories_need_wide_numbers() -> None:
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(mcore.InputError, match="jax_enable_x64"):
            layer_of(composed())
        layer_of(composed(), "float32")
    finally:
        jax.config.update("jax_enable_x64", True)


def small_model() -> JaxModel:
    memory = {"recurrence": "delta", "segmentation": {"kind": "constant", "length": 3}}
    spec = {
        "model": {"width": 8, "depth": 1, "heads": 2},
        "memory": memory | {"readout": "grm"},
        "data": {"task": "mqar", "length": 16, "pairs": 2, "vocab": 32},
        "backend": "reference",
        "dtype": "float64",
    }
    return JaxModel(mcore.compile(mcore.load_spec(spec)))


def test_a_whole_model() -> None:
    layer = small_model()
    tokens = np.random.default_rng(0).integers(0, 32, (2, 7))
    logits, saved = layer.model.forward(tokens)
    dlogits = np.random.default_rng(1).standard_normal(logits.shape)
    params = layer.params
    np.testing.assert_array_equal(layer(params, tokens), logits)
    loss = lambda p, t: jnp.sum(layer(p, t) * dlogits)  # noqa: E731
    assert_close(jax.jit(jax.grad(loss))(params, tokens), layer.model.backward(saved, dlogits))
    many = jnp.stack([tokens, tokens[:, ::-1]])
    each = [jax.grad(loss)(params, t) for t in many]
    found = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(params, many)
    assert_close(found, {n: jnp.stack([one[n] for one in each]) for n in params})
    halves = {n: jnp.stack([x, 0.5 * x]) for n, x in params.items()}
    both = jax.vmap(layer, (0, None))(halves, tokens)
    np.testing.assert_allclose(both[0], logits, atol=CLOSE)


def test_a_model_tells_mistakes() -> None:
    layer = small_model()
    tokens = np.zeros((1, 3), int)
    with pytest.raises(mcore.InputError, match="params: not the names"):
        layer({}, tokens)
    name = next(iter(layer.params))
    with pytest.raises(mcore.ShapeError, match=f"params: {name}: shape"):
        layer(layer.params | {name: np.zeros(3)}, tokens)
    with pytest.raises(mcore.InputError, match="tokens: float64, expected integers"):
        layer(layer.params, tokens * 1.0)
    with pytest.raises(mcore.DataError, match="token 32 is outside the vocabulary"):
        layer(layer.params, tokens + 32)
