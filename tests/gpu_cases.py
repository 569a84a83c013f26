"""Kernels of the GPU backend held to the reference, operation by operation, on the CPU.

`Held` is the reference backend; beside every operation it also runs the GPU's, emulated, on the
same arrays, and compares the two: forward when it is called, backward likewise. So a memory on this
backend is a test of the operations that it calls, with whatever cuts, states and documents it has.
"""

from typing import Any

import numpy as np
from gpu_fused import Composed, ComposedSigmoid
from tolerances import tolerance

import mcore
from mcore.backends.cupy_gpu.backend import CupyBackend
from mcore.backends.cupy_gpu.emulation.array import DeviceArray
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.backends.cupy_gpu.host import moved
from mcore.backends.numpy_ref.backend import ReferenceBackend
from mcore.testing.agreement import FLOOR, answer
from mcore.testing.strategies import Example

Twice = tuple[Any, Any]


class Held(ReferenceBackend):
    """Compares each operation with the GPU's; raises AssertionError where they differ.

    Attributes:
        gpu: the backend under test.
        compared: names of the operations compared so far.
    """

    def __init__(self, dtype: str, seed: int = 1, gpu: CupyBackend | None = None) -> None:
        super().__init__()
        self.gpu = gpu or CupyBackend(device=EmulatedDevice(seed))
        self.dtype = dtype
        self.compared: set[str] = set()

    def scan(self, *arguments: Any) -> Twice:
        return self._forward("scan", arguments)

    def scan_backward(self, saved: Twice, *d_output: Any) -> Any:
        return self._backward("scan_backward", saved, d_output)

    def route(self, *arguments: Any) -> Twice:
        return self._forward("route", arguments)

    def route_backward(self, saved: Twice, *d_output: Any) -> Any:
        return self._backward("route_backward", saved, d_output)

    def read(self, *arguments: Any) -> Twice:
        return self._forward("read", arguments)

    def read_backward(self, saved: Twice, *d_output: Any) -> Any:
        want = ReferenceBackend.read_backward(self, saved[0], *d_output)
        got = self.gpu.read_backward(saved[1], *self.on_gpu(d_output))
        gates = saved[0][3]
        if gates is not None:  # where a gate is exactly 0, its gradient may be anything finite
            want, got = _where_read(want, gates != 0), _where_read(got, self.on_gpu(gates) != 0)
        self.compare("read_backward", got, want)
        return want

    def soup(self, *arguments: Any) -> Twice:
        return self._forward("soup", arguments)

    def soup_backward(self, saved: Twice, *d_output: Any) -> Any:
        return self._backward("soup_backward", saved, d_output)

    def attention(self, *arguments: Any) -> Twice:
        return self._forward("attention", arguments)

    def attention_backward(self, saved: Twice, *d_output: Any) -> Any:
        return self._backward("attention_backward", saved, d_output)

    def fused(self, rule: Any, router: Any) -> Any:
        layer = self.gpu.fused(rule, router)
        return None if layer is None else Beside("fused", Composed(rule, router), layer, self)

    def sigmoid_read(self, rule: Any) -> Any:
        layer = self.gpu.sigmoid_read(rule)
        return None if layer is None else Beside("sigmoid", ComposedSigmoid(rule), layer, self)

    def _forward(self, name: str, arguments: tuple[Any, ...]) -> Twice:
        want, saved = getattr(ReferenceBackend, name)(self, *arguments)
        got, kept = getattr(self.gpu, name)(*self.on_gpu(arguments))
        self.compare(name, got, want)
        return want, (saved, kept)

    def _backward(self, name: str, saved: Twice, d_output: tuple[Any, ...]) -> Any:
        want = getattr(ReferenceBackend, name)(self, saved[0], *d_output)
        got = getattr(self.gpu, name)(saved[1], *self.on_gpu(d_output))
        self.compare(name, got, want)
        return want

    def on_gpu(self, arguments: Any) -> Any:
        return moved(arguments, self.gpu.device.upload, np.ndarray)

    def compare(self, name: str, got: Any, want: Any) -> None:
        self.compared.add(name)
        kind = "backward" if name.endswith("backward") else "forward"
        agree(name, got, want, tolerance(self.dtype, kind))


class Beside:
    """An operation that is an object, on the reference and beside it on the GPU."""

    def __init__(self, name: str, reference: Any, layer: Any, held: Held) -> None:
        self.name, self.reference, self.layer, self.held = name, reference, layer, held

    def forward(self, *arguments: Any) -> Twice:
        want, saved = self.reference.forward(*arguments)
        got, kept = self.layer.forward(*self.held.on_gpu(arguments))
        self.held.compare(self.name, got, want)
        return want, (saved, kept)

    def backward(self, saved: Twice, *d_output: Any) -> Any:
        want = self.reference.backward(saved[0], *d_output)
        got = self.layer.backward(saved[1], *self.held.on_gpu(d_output))
        self.held.compare(f"{self.name}_backward", got, want)
        return want


def _where_read(gradients: Any, read: Any) -> Any:
    dq, d_states, d_gates = gradients
    return dq, d_states, d_gates * read


def agree(place: str, got: Any, want: Any, allowed: float) -> None:
    """Raise AssertionError unless device arrays equal host arrays, entry for entry."""
    if want is None:
        assert got is None, f"{place}: {got} where None was expected"
    elif isinstance(want, dict):
        assert got.keys() == want.keys(), f"{place}: {sorted(got)}, expected {sorted(want)}"
        for name in want:
            agree(f"{place}.{name}", got[name], want[name], allowed)
    elif isinstance(want, tuple):
        assert len(got) == len(want), place
        for index, (mine, theirs) in enumerate(zip(got, want, strict=True)):
            agree(f"{place}[{index}]", mine, theirs, allowed)
    else:
        close_to(place, got, want, allowed)


def close_to(place: str, found: Any, want: Any, allowed: float) -> None:
    """Raise AssertionError unless a device array equals a host array."""
    assert isinstance(found, DeviceArray), f"{place}: {type(found)} is not on the device"
    got = found.get()
    assert got.shape == want.shape, f"{place}: {got.shape}, expected {want.shape}"
    assert got.dtype == want.dtype, f"{place}: {got.dtype}, expected {want.dtype}"
    if not want.size:
        return
    error = float(np.abs(got - want).max()) / max(float(np.abs(want).max()), FLOOR)
    assert error <= allowed, f"{place}: off by {error:.1e}, {allowed:.0e} allowed"


def hold(example: Example, dtype: str, seed: int = 1) -> set[str]:
    """Forward and backward of an example's memory, every operation compared; which they were."""
    backend = Held(dtype, seed)
    answer(mcore.memory(**example.composition, backend=backend, dtype=dtype), example)
    return backend.compared
