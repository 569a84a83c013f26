"""mcore inside PyTorch: gradcheck, mcore's own gradients, those of an implementation in torch."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mcore
from mcore.arrays import as_array, received
from mcore.testing.strategies import Composition, Example, Sizes, examples, sizes, splits

torch = pytest.importorskip("torch")

from mcore.interop.torch import State, TorchMemory, TorchModel, start_parameters  # noqa: E402

few = settings(
    max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
Tensors = dict[str, Any]
CLOSE = 1e-10
"""float64, and the same kernels either way."""


def composed(recurrence: Any = "gated_delta", **axes: Any) -> Composition:
    usual = {"segmentation": {"kind": "constant", "length": 3}, "readout": "grm"}
    return {"recurrence": recurrence, "start": "independent", **usual, **axes}  # type: ignore[typeddict-item]


def layer_of(composition: Composition, backend: str = "reference", **more: Any) -> TorchMemory:
    return TorchMemory(mcore.memory(**composition, backend=backend, dtype="float64"), **more)


def example_of(composition: Composition, tokens: int = 8) -> Example:
    return Example(composition, Sizes(2, tokens, 2, 3, 3), 1)


def tensors_of(example: Example, grad: bool = True) -> Tensors:
    return {n: torch.tensor(x, requires_grad=grad) for n, x in example.inputs.items()}


def projected(layer: Callable[[Tensors], Any], dy: Any) -> Callable[[Tensors], Any]:
    """A loss whose gradient of y is dy."""
    return lambda inputs: (layer(inputs) * torch.as_tensor(dy)).sum()


def assert_close(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, x in wanted.items():
        x = np.asarray(x)
        scale = max(float(np.abs(x).max(initial=0)), 1.0)
        np.testing.assert_allclose(found[name], x, atol=CLOSE * scale, err_msg=name)


def own_gradients(layer: TorchMemory, inputs: Mapping[str, Any], dy: Any) -> Any:
    plain = {n: np.asarray(x) for n, x in inputs.items()}
    _, saved = layer.memory.forward(plain)
    return layer.memory.backward(saved, dy)


@few
@given(example=examples())
def test_gradients_are_mcores_own(example: Example) -> None:
    layer, inputs = layer_of(example.composition), tensors_of(example)
    projected(layer, example.dy)(inputs).backward()
    wanted = own_gradients(layer, example.inputs, example.dy)
    assert_close({n: x.grad for n, x in inputs.items()}, wanted)


@pytest.mark.parametrize("recurrence", ["gated_delta", "titans", "gru"])
def test_gradcheck_of_a_call_and_of_a_stream(recurrence: str) -> None:
    example = example_of(composed(recurrence), tokens=6)
    layer, inputs = layer_of(example.composition), tensors_of(example)

    def call(*arrays: Any) -> Any:
        return layer(dict(zip(inputs, arrays, strict=True)))

    def stream(*arrays: Any) -> Any:
        return streamed(layer, dict(zip(inputs, arrays, strict=True)), [1, 4, 1])

    for function in (call, stream):
        assert torch.autograd.gradcheck(function, tuple(inputs.values()), fast_mode=True)


def streamed(layer: TorchMemory, inputs: Tensors, lengths: list[int]) -> Any:
    """y of a stream in pieces of these lengths."""
    pieces = {
        n: x.split(lengths, dim=1) if "T" in layer.inputs[n].split() else [x] * len(lengths)
        for n, x in inputs.items()
    }
    state, found = layer.start(inputs, tokens=sum(lengths)), []
    for i in range(len(lengths)):
        y, state = layer.step({n: piece[i] for n, piece in pieces.items()}, state)
        found.append(y)
    return torch.cat(found, dim=1)


CACHES: list[dict[str, Any]] = [{}, {"limit": 1, "evict": "merge"}, {"limit": 2, "dtype": "int8"}]


@few
@given(
    example=examples(streamable=True, shapes=sizes(tokens=8)),
    cache=st.sampled_from(CACHES),
    data=st.data(),
)
def test_a_stream_is_one_long_sequence(
    example: Example, cache: dict[str, Any], data: st.DataObject
) -> None:
    layer = layer_of({**example.composition, "cache": cache})
    inputs = tensors_of(example)
    y = streamed(layer, inputs, data.draw(splits(example.sizes.T)))
    np.testing.assert_allclose(y.detach(), layer(inputs).detach(), atol=CLOSE)
    (y * torch.as_tensor(example.dy)).sum().backward()
    wanted = own_gradients(layer, example.inputs, example.dy)
    found = {n: torch.zeros_like(x) if x.grad is None else x.grad for n, x in inputs.items()}
    assert_close(found, wanted)


def linear_grm(inputs: Tensors, length: int) -> Any:
    """Linear attention with gated reads of its checkpoints, token by token."""
    q, k, v, u = (inputs[name] for name in "qkvu")
    found = []
    for t in range(q.shape[1]):
        begins = range(0, t + 1, length)
        parts = [slice(b, min(b + length, t + 1)) for b in begins]
        reads = [torch.einsum("bthk,bthv,bhk->bhv", k[:, p], v[:, p], q[:, t]) for p in parts]
        logits = [(u[:, t] * k[:, p].mean(1)).sum(-1) / q.shape[-1] ** 0.5 for p in parts]
        gates = torch.stack(logits).softmax(0)
        found.append((gates[..., None] * torch.stack(reads)).sum(0))
    return torch.stack(found, dim=1)


def test_gradients_are_those_of_an_implementation_in_torch() -> None:
    example = example_of(composed("linear"), tokens=11)
    layer = layer_of(example.composition, "numba")
    ours, theirs = tensors_of(example), tensors_of(example)
    np.testing.assert_allclose(layer(ours).detach(), linear_grm(theirs, 3).detach(), atol=CLOSE)
    projected(layer, example.dy)(ours).backward()
    projected(lambda x: linear_grm(x, 3), example.dy)(theirs).backward()
    assert_close({n: x.grad for n, x in ours.items()}, {n: x.grad for n, x in theirs.items()})


def test_only_what_wants_a_gradient_gets_one() -> None:
    example = example_of(composed())
    layer, inputs = layer_of(example.composition), tensors_of(example, grad=False)
    assert not layer(inputs).requires_grad
    inputs["v"].requires_grad_()
    projected(layer, example.dy)(inputs).backward()
    wanted = own_gradients(layer, example.inputs, example.dy)
    assert_close({"v": inputs["v"].grad}, {"v": wanted["v"]})
    assert all(x.grad is None for n, x in inputs.items() if n != "v")


def test_any_layout_and_width_will_do() -> None:
    example = example_of(composed())
    layer = layer_of(example.composition)
    scattered = {
        n: torch.tensor(np.repeat(x, 2, axis=1)).mT.contiguous().mT[:, ::2] if x.ndim > 3
        else torch.tensor(x)
        for n, x in example.inputs.items()
    }  # fmt: skip
    assert not scattered["q"].is_contiguous()
    np.testing.assert_allclose(layer(scattered), layer(tensors_of(example)).detach(), atol=CLOSE)
    for dtype in (torch.float32, torch.bfloat16):
        narrow = {n: x.to(dtype).requires_grad_() for n, x in scattered.items()}
        y = layer(narrow)
        assert y.dtype == torch.float64
        y.sum().backward()
        assert all(x.grad.dtype == dtype for x in narrow.values())


def test_second_derivatives_are_refused() -> None:
    example = example_of(composed())
    layer, inputs = layer_of(example.composition), tensors_of(example)
    (gradient,) = torch.autograd.grad(layer(inputs).sum(), inputs["q"], create_graph=True)
    with pytest.raises(mcore.InputError, match="second derivatives"):
        gradient.sum().backward()


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of the compiler itself
def test_a_compiled_program_calls_the_layer_as_it_is() -> None:
    example = example_of(composed())
    layer, inputs = layer_of(example.composition), tensors_of(example)
    loss = projected(lambda x: layer({n: 2 * a for n, a in x.items()}), example.dy)
    found = torch.compile(loss, backend="eager")(inputs)
    np.testing.assert_allclose(found.item(), loss(inputs).item(), rtol=CLOSE)
    found.backward()
    doubled = {n: 2 * x for n, x in example.inputs.items()}
    wanted = own_gradients(layer, doubled, example.dy)
    assert_close({n: x.grad for n, x in inputs.items()}, {n: 2 * x for n, x in wanted.items()})
    reasons = torch._dynamo.explain(loss)(inputs).break_reasons
    assert all("torch.compiler.disable" in str(why.reason) for why in reasons)
    assert reasons


def test_inputs_changed_before_backward_are_noticed() -> None:
    example = example_of(composed())
    layer, inputs = layer_of(example.composition), tensors_of(example, grad=False)
    inputs["q"].requires_grad_()
    y = layer(inputs)
    inputs["v"].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def many_of(example: Example, copies: int = 3) -> Tensors:
    return {
        n: torch.stack([torch.tensor(x * 0.9**i) for i in range(copies)])
        for n, x in example.inputs.items()
    }


@pytest.mark.parametrize(
    ("recurrence", "shared"), [("gated_delta", False), ("dla", False), ("dla", True)]
)
def test_maps_and_gradients_in_any_order(recurrence: str, shared: bool) -> None:
    example = example_of(composed(recurrence), tokens=5)
    layer, many = layer_of(example.composition), many_of(example)
    parameters = {n for n, axes in layer.inputs.items() if "T" not in axes.split()}
    held = parameters if shared else set()
    many |= {n: many[n][0] for n in held}
    axes = ({n: None if n in held else 0 for n in many},)
    loss = projected(layer, example.dy)
    each = [
        own_gradients(layer, {n: x if n in held else x[i] for n, x in many.items()}, example.dy)
        for i in range(3)
    ]
    inside = torch.func.vmap(torch.func.grad(loss), axes)(many)
    assert_close(inside, {n: np.stack([one[n] for one in each]) for n in many})
    outside = torch.func.grad(lambda x: torch.func.vmap(loss, axes)(x).sum())(many)
    assert_close(outside, {n: x.sum(0) if n in held else x for n, x in inside.items()})


def test_a_jacobian_maps_backward_alone() -> None:
    example = example_of(composed(), tokens=3)
    layer, inputs = layer_of(example.composition), tensors_of(example, grad=False)
    found = torch.func.jacrev(lambda v: layer(inputs | {"v": v}))(inputs["v"])
    one = np.zeros(example.dy.shape)
    one[1, 2, 0, 1] = 1.0
    wanted = own_gradients(layer, example.inputs, one)["v"]
    np.testing.assert_allclose(found[1, 2, 0, 1], wanted, atol=CLOSE)


def test_a_graph_that_is_kept_serves_twice() -> None:
    example = example_of(composed())
    layer, inputs = layer_of(example.composition), tensors_of(example)
    loss = projected(layer, example.dy)(inputs)
    loss.backward(retain_graph=True)
    loss.backward()
    wanted = own_gradients(layer, example.inputs, example.dy)
    assert_close({n: x.grad for n, x in inputs.items()}, {n: 2 * x for n, x in wanted.items()})


def test_a_mapped_axis_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    example = example_of(composed())
    layer, many, calls = layer_of(example.composition), many_of(example), []
    forward = layer.memory.forward

    def spy(inputs: Any, state: Any = None, *, document: Any = None) -> Any:
        calls.append(inputs["q"].shape)
        return forward(inputs, state, document=document)

    monkeypatch.setattr(layer.memory, "forward", spy)
    moved = {n: x.movedim(0, -1) for n, x in many.items()}
    y = torch.func.vmap(layer, -1, out_dims=-1)(moved)
    assert calls == [(6, 8, 2, 3)]
    np.testing.assert_allclose(y[..., 2], layer({n: x[2] for n, x in many.items()}), atol=CLOSE)


def test_a_step_is_mapped_too() -> None:
    example = example_of(composed())
    layer, many = layer_of(example.composition), many_of(example)
    y = torch.func.vmap(lambda x: streamed(layer, x, [2, 5, 1]))(many)
    np.testing.assert_allclose(y, torch.func.vmap(layer)(many), atol=CLOSE)


def test_a_module_holds_parameters() -> None:
    composition = composed("gru")
    memory = mcore.memory(**composition, backend="reference", dtype="float64")
    layer = TorchMemory(memory, start_parameters(memory, 2, 3, 3))
    assert {n: tuple(p.shape) for n, p in layer.named_parameters()} == {
        "recurrent": (2, 3, 9),
        "recurrent_bias": (2, 3),
    }
    inputs = tensors_of(example_of(composition), grad=False)
    given = {n: x for n, x in inputs.items() if not n.startswith("recurrent")}
    layer(given).sum().backward()
    assert layer.recurrent.grad.abs().sum() > 0
    other = TorchMemory(memory, start_parameters(memory, 2, 3, 3, seed=1))
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(other(given).detach(), layer(given).detach())
    layer.float()
    assert layer(given).dtype == torch.float64
    with pytest.raises(mcore.InputError, match="parameters: w_in is no parameter; recurrent or"):
        TorchMemory(memory, {"w_in": torch.ones(1)})


def test_what_mcore_does_not_train_is_a_buffer() -> None:
    memory = mcore.memory("retention", backend="reference")
    layer = TorchMemory(memory, start_parameters(memory, 4, 3, 3))
    assert [n for n, _ in layer.named_buffers()] == ["log_decay"]
    assert not list(layer.parameters())


def test_documents() -> None:
    example = example_of(composed())
    layer = layer_of(example.composition)
    ids = np.array([[0, 0, 0, 0, 0, 1, 1, 1], [4, 4, 5, 5, 5, 5, 5, -1]])
    inputs = tensors_of(example)
    y, saved = layer.memory.forward(example.inputs, document=ids)
    found = layer(inputs, document=torch.tensor(ids))
    np.testing.assert_array_equal(found.detach(), y)
    (found * torch.as_tensor(example.dy)).sum().backward()
    wanted = layer.memory.backward(saved, example.dy)
    assert_close({n: x.grad for n, x in inputs.items()}, wanted)


def test_mistakes_are_told() -> None:
    layer, x = layer_of(composed()), tensors_of(example_of(composed()))
    with pytest.raises(mcore.InputError, match="beta missing"):
        layer({n: a for n, a in x.items() if n != "beta"})
    with pytest.raises(mcore.ShapeError, match=r"v: shape torch.Size\(\[2, 7, 2, 3\]\)"):
        layer(x | {"v": x["v"][:, :7]})
    with pytest.raises(mcore.InputError, match=r"q: holds torch\.complex128"):
        layer(x | {"q": x["q"] * 1j})
    with pytest.raises(mcore.InputError, match="q: is not a tensor"):
        layer(x | {"q": "text"})
    with pytest.raises(mcore.InputError, match="q: is not a tensor"):
        layer(x | {"q": x["q"].to("meta")})
    with pytest.raises(mcore.InputError, match="log_decay: has -inf"):
        layer(x | {"log_decay": x["log_decay"] - torch.inf})
    with pytest.raises(mcore.SpecError, match="tokens: the cache grows"):
        layer.start(x)
    state = layer.start(x, tokens=8)
    with pytest.raises(mcore.ShapeError, match=r"state\.online: \(2, 2, 9\)"):
        layer.step({n: a[:1] for n, a in x.items()}, state)
    with pytest.raises(mcore.InputError, match="state: a dict"):
        layer.step(x, {})
    _, state = layer.step(x, state)
    assert isinstance(state, State)
    with pytest.raises(mcore.InputError, match="room for 2"):
        layer.step(x, state)


def test_a_state_shares_no_memory_with_the_one_before() -> None:
    layer, x = layer_of(composed()), tensors_of(example_of(composed()), grad=False)
    first = {n: a[:, :1] for n, a in x.items()}
    _, before = layer.step(first, layer.start(x, tokens=8))
    kept = State(*(a.clone() for a in before))
    _, after = layer.step(first, before)
    for a in after:
        a.zero_()
    assert all((a == b).all() for a, b in zip(before, kept, strict=True))


def small_model() -> TorchModel:
    spec = {
        "model": {"width": 8, "depth": 1, "heads": 2},
        "memory": {"recurrence": "delta", "segmentation": {"kind": "constant", "length": 3}},
        "data": {"task": "mqar", "length": 16, "pairs": 2, "vocab": 32},
        "backend": "reference",
        "dtype": "float64",
    }
    return TorchModel(mcore.compile(mcore.load_spec(spec)))


def test_a_whole_model_trains_and_is_written_back() -> None:
    layer = small_model()
    tokens = torch.randint(0, 32, (2, 7), generator=torch.Generator().manual_seed(0))
    logits, saved = layer.model.forward(tokens)
    dlogits = np.random.default_rng(0).standard_normal(logits.shape)
    found = layer(tokens)
    np.testing.assert_array_equal(found.detach(), logits)
    (found * torch.as_tensor(dlogits)).sum().backward()
    grads = {n.replace("/", "."): p.grad for n, p in layer.named_parameters()}
    assert_close(grads, layer.model.backward(saved, dlogits))
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    layer.write_back()
    np.testing.assert_array_equal(layer.model.forward(tokens)[0], layer(tokens).detach())
    assert np.abs(layer.model.forward(tokens)[0] - logits).max() > 1e-4


def test_tensors_come_in_by_dlpack() -> None:
    x = torch.arange(6.0)
    seen = as_array("x", x, "float32", np)
    assert seen.ctypes.data == x.data_ptr()
    brain = torch.arange(6).to(torch.bfloat16).reshape(2, 3).T
    assert received("x", brain, np).ctypes.data == brain.data_ptr()
    np.testing.assert_array_equal(as_array("x", brain, "float32", np), brain.float())
    layer, inputs = layer_of(composed()), tensors_of(example_of(composed()))
    with pytest.raises(mcore.InputError, match="q: requires a gradient"):
        layer.memory.forward(inputs)
    with pytest.raises(mcore.InputError, match="x: cannot be taken over from torch"):
        as_array("x", torch.ones(3).to_sparse(), "float32", np)
    with pytest.raises(mcore.InputError, match="x: cannot be taken over from torch: Unknown dev"):
        as_array("x", torch.ones(3, device="meta"), "float32", np)
