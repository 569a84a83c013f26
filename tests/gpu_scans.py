"""Scans on the emulated GPU: beside the reference's, in pieces, against finite differences."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from gpu_cases import Held, agree

import mcore
from mcore.arrays import Array
from mcore.backends.cupy_gpu.backend import CupyBackend
from mcore.backends.cupy_gpu.emulation.array import DeviceArray, traffic
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.backends.numpy_ref.backend import ReferenceBackend
from mcore.testing.agreement import answer, assert_agree
from mcore.testing.gradcheck import check_inputs
from mcore.testing.strategies import Example, Sizes

ALLOWED = {"float64": 1e-9, "float32": 1e-5}

RAGGED = {"kind": "given", "lengths": [[4, 1, 6], [2, 9]]}
"""11 tokens in two rows."""


class HeldScan(Held):
    """Compares scans alone, and more closely.

    Attributes:
        carried: whether a memory came in and its gradient was compared.
    """

    carried = False

    def _forward(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "scan":
            return super()._forward(name, arguments)
        want, saved = getattr(ReferenceBackend, name)(self, *arguments)
        return want, (saved, None)

    def _backward(self, name: str, saved: Any, d_output: tuple[Any, ...]) -> Any:
        if name == "scan_backward":
            return super()._backward(name, saved, d_output)
        return getattr(ReferenceBackend, name)(self, saved[0], *d_output)

    def _compare(self, name: str, got: Any, want: Any) -> None:
        self.compared.add(name)
        self.carried |= name == "scan_backward" and want[1] is not None
        agree(name, got, want, ALLOWED[self.dtype])


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
    backend = HeldScan(dtype)
    memory = memory_of(example, backend, dtype)
    y, saved = memory.forward({**example.inputs, **changed})
    memory.backward(saved, example.dy.astype(y.dtype))
    assert backend.compared == {"scan", "scan_backward"}


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
        self.given = caught.given

    def run(self, device: EmulatedDevice) -> list[Array]:
        """Everything that its forward and backward return."""
        backend = CupyBackend(device=device)
        rule, inputs, carry, segments, d_reads, d_ends = self.given
        up = {name: DeviceArray(x.copy()) for name, x in inputs.items()}
        found, saved = backend.scan(rule, up, carry, segments)
        gradients, _ = backend.scan_backward(saved, DeviceArray(d_reads), DeviceArray(d_ends))
        return [x.host for x in (*found, *gradients.values())]


def assert_repeats(example: Example, dtype: str) -> None:
    """Whatever the order in which threads take turns, the same bits; no copy after the first."""
    scan, found = Scan(example, dtype), []
    for seed in (0, 1, 7):
        device = EmulatedDevice(seed)
        found.append(scan.run(device))
        traffic.reset()
        scan.run(device)
        assert (traffic.up, traffic.down) == (0, 0)
    for other in found[1:]:
        for x, y in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(x, y)
