"""Scans on the emulated GPU: beside the reference's, in pieces, against finite differences."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from gpu_cases import agree

import mcore
from mcore.arrays import Array
from mcore.backends.cupy_gpu.backend import CupyBackend
from mcore.backends.cupy_gpu.emulation.array import DeviceArray, traffic
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.backends.cupy_gpu.host import moved
from mcore.backends.numpy_ref.backend import ReferenceBackend
from mcore.testing.agreement import answer, assert_agree
from mcore.testing.gradcheck import check_inputs
from mcore.testing.strategies import Example, Sizes

ALLOWED = {"float64": 1e-9, "float32": 1e-5}

RAGGED = {"kind": "given", "lengths": [[4, 1, 6], [2, 9]]}
"""11 tokens in two rows."""


class HeldScan(ReferenceBackend):
    """The reference, whose scans are compared with the GPU's, and closely.

    Attributes:
        carried: whether a memory came in and its gradient was compared.
    """

    def __init__(self, dtype: str) -> None:
        super().__init__()
        self.gpu = CupyBackend(device=EmulatedDevice(seed=1))
        self.allowed, self.carried = ALLOWED[dtype], False

    def scan(self, *arguments: Any) -> Any:
        want, saved = super().scan(*arguments)
        got, kept = self.gpu.scan(*self._up(arguments))
        agree("scan", got, want, self.allowed)
        return want, (saved, kept)

    def scan_backward(self, saved: Any, *d_output: Any) -> Any:
        want = super().scan_backward(saved[0], *d_output)
        got = self.gpu.scan_backward(saved[1], *self._up(d_output))
        agree("scan_backward", got, want, self.allowed)
        self.carried |= want[1] is not None
        return want

    def _up(self, arguments: Any) -> Any:
        return moved(arguments, self.gpu.device.upload, np.ndarray)


def example_of(
    recurrence: Any, sizes: Sequence[int], segmentation: Any, start: str, readout: str = "none"
) -> Example:
    """A composition and its arrays."""
    composition: Any = {
        "recurrence": recurrence,
        "segmentation": segmentation,
        "readout": readout,
        "start": start,
    }
    return Example(composition, Sizes(*sizes), 0)


def memory_of(example: Example, backend: Any, dtype: str = "float64") -> Any:
    """Its memory."""
    return mcore.memory(**example.composition, backend=backend, dtype=dtype)


def hold_scan(example: Example, dtype: str = "float64", changed: Mapping[str, Array] = {}) -> None:
    """The scan of one call, forward and backward; `changed` inputs take the place of sampled."""
    memory = memory_of(example, HeldScan(dtype), dtype)
    y, saved = memory.forward({**example.inputs, **changed})
    memory.backward(saved, example.dy.astype(y.dtype))


def hold_answer(example: Example) -> None:
    """The whole memory on both; what is nearly zero need only be nearly zero."""
    backends = CupyBackend(device=EmulatedDevice()), ReferenceBackend()
    found, wanted = (answer(memory_of(example, backend), example) for backend in backends)
    for name, want in wanted.items():
        assert_agree(backends[0].device.download(found[name]), want, ALLOWED["float64"], name)


def hold_pieces(example: Example, lengths: Sequence[int], document: Array | None) -> None:
    """The scans of calls that go on from one another, gradients of their states included."""
    backend, state, found = HeldScan("float64"), None, []
    memory = memory_of(example, backend)
    edges = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    for piece, (begin, end) in zip(example.pieces(lengths), pairwise(edges), strict=True):
        ids = None if document is None else document[:, begin:end]
        _, saved = memory.forward(piece, state, document=ids)
        state = saved.end
        found.append((saved, example.dy[:, begin:end]))
    d_state = None
    for saved, dy in reversed(found):
        d_state = memory.backward(saved, dy, d_state).get("state")
    assert backend.carried


def check_slopes(example: Example) -> None:
    """Every gradient of a memory on the emulated GPU against central differences."""
    backend = CupyBackend(device=EmulatedDevice())
    memory = memory_of(example, backend)
    inputs = {name: backend.device.upload(x) for name, x in example.inputs.items()}
    check_inputs(memory.forward, memory.backward, inputs)


class Caught(ReferenceBackend):
    """The reference, which keeps what its scans were given.

    Attributes:
        given: arguments of the last `scan` and `scan_backward`.
    """

    given: tuple[Any, ...] = ()

    def scan(self, *arguments: Any) -> Any:
        self.given = arguments
        return super().scan(*arguments)

    def scan_backward(self, saved: Any, *d_output: Any) -> Any:
        self.given = (*self.given, *d_output)
        return super().scan_backward(saved, *d_output)


class Scan:
    """The scan of an example's memory, to be run again and again with the same arrays and cuts."""

    def __init__(self, example: Example, dtype: str) -> None:
        caught = Caught()
        memory = memory_of(example, caught, dtype)
        y, saved = memory.forward(example.inputs)
        memory.backward(saved, example.dy.astype(y.dtype))
        rule, inputs, _, segments, *d_output = caught.given
        up: Any = {name: DeviceArray(x) for name, x in inputs.items()}
        self.given = rule, up, None, segments
        self.d_output: list[Any] = [DeviceArray(x) for x in d_output]

    def run(self, device: EmulatedDevice) -> list[Array]:
        """Everything that its forward and backward return."""
        backend: Any = CupyBackend(device=device)
        found, saved = backend.scan(*self.given)
        gradients, _ = backend.scan_backward(saved, *self.d_output)
        arrays: list[Any] = [*found, *gradients.values()]
        return [x.host for x in arrays]


def assert_repeats(example: Example, dtype: str) -> None:
    """Whatever the order in which threads take turns, the same bits; no copy after the first."""
    scan, device = Scan(example, dtype), EmulatedDevice()
    want = scan.run(device)
    traffic.reset()
    scan.run(device)
    assert (traffic.up, traffic.down) == (0, 0)
    for seed in (1, 7):
        for x, y in zip(scan.run(EmulatedDevice(seed)), want, strict=True):
            np.testing.assert_array_equal(x, y)
