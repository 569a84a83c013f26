"""Other libraries' arrays at the boundary: what comes in by DLPack, and what goes out."""

import ctypes
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from harness import BACKENDS, DTYPES

import mcore
from mcore.arrays import as_array, received
from mcore.dlpack import taken_over
from mcore.testing.strategies import Composition, Example, Sizes

every_backend = pytest.mark.parametrize("backend", BACKENDS)

COMPOSITION: Composition = {
    "recurrence": "gated_delta",
    "segmentation": {"kind": "constant", "length": 3},
    "readout": "grm",
    "start": "independent",
}
SPEC: dict[str, Any] = {
    "model": {"width": 8, "depth": 1, "heads": 2},
    "memory": {"recurrence": "delta", "segmentation": {"kind": "constant", "length": 2}},
    "data": {"task": "mqar", "length": 16, "pairs": 2, "vocab": 32},
    "backend": "reference",
}
EXAMPLE = Example(COMPOSITION, Sizes(2, 7, 2, 3, 3), 0)


class Exporter:
    """Another library's array: all that is known of it is that it speaks DLPack."""

    def __init__(self, x: Any, device: tuple[int, int] = (1, 0)) -> None:
        self.x, self.device = x, device

    def __dlpack__(self, *, max_version: Any = None, **options: Any) -> Any:
        return self.x.__dlpack__(max_version=max_version)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


class Brain(Exporter):
    """An array of bfloat16, exported as other libraries do: 16 bits of kind 4."""

    def __dlpack__(self, *, max_version: Any = None, **options: Any) -> Any:
        capsule = self.x.view(np.uint16).__dlpack__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
        ctypes.c_uint8.from_address(pointer(capsule, b"dltensor") + 20).value = 4
        return capsule


class Recorded(Exporter):
    """A tensor whose gradients are recorded."""

    requires_grad = True

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("Can't export tensors that require gradient")


@every_backend
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_memory_takes_them_everywhere(backend: str, dtype: Any) -> None:
    memory = mcore.memory(**COMPOSITION, backend=backend, dtype=dtype)
    plain = {name: x.astype(dtype) for name, x in EXAMPLE.inputs.items()}
    foreign = {name: Exporter(x) for name, x in plain.items()}
    dy = EXAMPLE.dy.astype(dtype)
    document = np.repeat([[0, 1]], 2, axis=0).repeat([4, 3], axis=1)
    y, saved = memory.forward(plain, document=document)
    got, other = memory.forward(foreign, document=Exporter(document))
    np.testing.assert_array_equal(got, y)
    gradients, again = memory.backward(saved, dy), memory.backward(other, Exporter(dy))
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(again[name], gradient)
    np.testing.assert_array_equal(memory.step(foreign)[0], memory.step(plain)[0])


@every_backend
def test_a_stream_takes_tokens_that_may_not_be_written(backend: str) -> None:
    memory = mcore.memory(**COMPOSITION, backend=backend, dtype="float64")
    wanted, _ = memory.forward(EXAMPLE.inputs)
    stream, found = memory.stream(), list[Any]()
    for token in EXAMPLE.pieces([1] * 7):
        for x in token.values():
            x.flags.writeable = False
        found.append(stream.feed(token if len(found) % 2 else exported(token)))
    np.testing.assert_allclose(np.concatenate(found, axis=1), wanted, atol=1e-10)


def exported(inputs: dict[str, Any]) -> dict[str, Exporter]:
    """Copies that may be written: NumPy exports no others without a copy."""
    return {name: Exporter(x.copy()) for name, x in inputs.items()}


def test_a_model_and_a_session_take_them() -> None:
    model = mcore.compile(mcore.load_spec(SPEC))
    tokens = np.arange(12).reshape(2, 6) % model.vocab
    logits, saved = model.forward(tokens)
    got, other = model.forward(Exporter(tokens))  # type: ignore[arg-type]
    np.testing.assert_array_equal(got, logits)
    wanted, found = model.backward(saved, logits), model.backward(other, Exporter(logits))  # type: ignore[arg-type]
    for name, gradient in wanted.items():
        np.testing.assert_array_equal(found[name], gradient)
    loss, _ = model.loss(Exporter(tokens), Exporter(tokens))  # type: ignore[arg-type]
    assert loss.value == model.loss(tokens, tokens)[0].value
    np.testing.assert_array_equal(
        model.session().feed(Exporter(tokens)), model.session().feed(tokens)
    )


@pytest.mark.parametrize("x", [np.arange(4.0), np.arange(4.0)[::2], np.asfortranarray(np.eye(3))])
def test_the_same_memory_is_used(x: Any) -> None:
    assert np.shares_memory(as_array("x", Exporter(x), "float64", np), x)
    assert np.shares_memory(received("x", x, np), x)


def test_answers_go_out_without_a_copy() -> None:
    memory = mcore.memory(**COMPOSITION, backend="reference", dtype="float64")
    y, saved = memory.forward(EXAMPLE.inputs)
    for x in (y, *memory.backward(saved, y).values()):
        assert np.shares_memory(np.from_dlpack(x), x)


@pytest.mark.parametrize("made", [lambda x: x, lambda x: x[::2], lambda x: x.reshape(2, 3).T])
def test_bfloat16_is_seen_in_place(made: Callable[[Any], Any]) -> None:
    x = made(np.array([0.0, 1.5, -2.0, 3e38, np.inf, 0.1], ml_dtypes.bfloat16))
    seen = taken_over("x", Brain(x), np)
    assert seen.dtype == ml_dtypes.bfloat16
    assert np.shares_memory(seen, x)
    np.testing.assert_array_equal(as_array("x", Brain(x), "float32", np), x.astype(np.float32))


def test_bfloat16_outlives_what_exported_it() -> None:
    seen = taken_over("x", Brain(np.ones(1 << 16, ml_dtypes.bfloat16)), np)
    np.ones(1 << 16, ml_dtypes.bfloat16).fill(2)
    assert seen.astype(np.float32).sum() == 1 << 16


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (Exporter(np.ones(3), (2, 1)), r"q: is on device CUDA:1, and .* q.cpu\(\) of PyTorch"),
        (Exporter(np.ones(3), (99, 0)), r"q: is on device type 99:0"),
        (Recorded(np.ones(3)), r"q: requires a gradient.*x.detach\(\)"),
        (
            Exporter(np.ones(3, ml_dtypes.float8_e4m3fn)),
            "q: cannot be taken over from tests: DLPack only",
        ),
        (Exporter(np.ones(3, complex)), "q: holds complex128"),
    ],
)
def test_what_cannot_be_taken_over_is_refused_by_name(x: object, message: str) -> None:
    memory = mcore.memory("linear", backend="reference")
    with pytest.raises(mcore.InputError, match=message):
        memory.forward({"q": x, "k": np.ones((1, 2, 1, 3)), "v": np.ones((1, 2, 1, 3))})
