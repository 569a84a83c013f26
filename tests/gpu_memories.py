"""Memories on the emulated GPU beside those of the reference: whole courses of calls compared."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

import mcore
from mcore.arrays import Array
from mcore.backends.cupy_gpu.backend import CupyBackend
from mcore.backends.cupy_gpu.emulation.array import DeviceArray
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.backends.cupy_gpu.host import on_host
from mcore.backends.numpy_ref.backend import ReferenceBackend
from mcore.cache import MemoryState
from mcore.cache.state import FLOATS
from mcore.layers.dense import PLAIN
from mcore.testing.agreement import assert_agree
from mcore.testing.strategies import Example


class OnHost(CupyBackend):
    """All operations run in the reference, as those without kernels do: quick, and exact."""

    def __init__(self, device: EmulatedDevice) -> None:
        super().__init__(device=device)
        self.dense = PLAIN

    def fused(self, rule: Any, router: Any) -> None:
        return None

    def sigmoid_read(self, rule: Any) -> None:
        return None


def _by_reference(name: str) -> Any:
    pair = on_host(name)

    def run(self: CupyBackend, *arguments: Any) -> Any:
        return self._run(pair, *arguments)

    return run


for _name in ("scan", "route", "read", "soup", "attention"):
    setattr(OnHost, _name, _by_reference(_name))

GPU = OnHost(device=EmulatedDevice())
REFERENCE = ReferenceBackend()
COUNTS = ("ledger", "position", "length", "count", "document")

Ids = Array | None


def on_gpu(example: Example, dtype: str = "float64") -> Any:
    """Its memory on the emulated GPU."""
    return mcore.memory(**example.composition, backend=GPU, dtype=dtype)


def by_reference(example: Example, dtype: str = "float64") -> Any:
    """Its memory in the reference."""
    return mcore.memory(**example.composition, backend=REFERENCE, dtype=dtype)


def device(x: Any) -> Any:
    """A copy on the emulated GPU."""
    return GPU.device.upload(x)


def hold_course(example: Example, lengths: Sequence[int], document: Ids = None) -> None:
    """The example in pieces, forward and all the way back: y, states and gradients compared.

    Raises AssertionError; also where the GPU's floats are on the host, or its integers are not.
    """
    found = (
        course(memory(example), example, lengths, document) for memory in (on_gpu, by_reference)
    )
    for piece, (got, want) in enumerate(zip(*found, strict=True)):
        place = f"{example.composition}, piece {piece}"
        near(f"{place}: y", got["y"], want["y"])
        assert got["gradients"].keys() == want["gradients"].keys(), place
        for name, gradient in want["gradients"].items():
            near(f"{place}: gradient of {name}", got["gradients"][name], gradient)
        hold_state(f"{place}: end", got["end"], want["end"])
        if want["d_state"] is not None:
            hold_state(f"{place}: gradient of the state", got["d_state"], want["d_state"])


def hold_state(place: str, got: MemoryState, want: MemoryState) -> None:
    """Raise AssertionError unless two states are the same, each array where it belongs."""
    for name in FLOATS:
        near(f"{place}.{name}", getattr(got, name), getattr(want, name))
    for name in COUNTS:
        x = getattr(got, name)
        assert isinstance(x, np.ndarray), f"{place}.{name}: {type(x)} is not on the host"
        np.testing.assert_allclose(x, getattr(want, name), rtol=1e-9, err_msg=f"{place}.{name}")


def near(place: str, got: Any, want: Array) -> None:
    """Raise AssertionError unless a device array equals a host array of the same type."""
    assert isinstance(got, DeviceArray), f"{place}: {type(got)} is not on the device"
    assert got.dtype == want.dtype, f"{place}: {got.dtype}, expected {want.dtype}"
    assert got.shape == want.shape, f"{place}: {got.shape}, expected {want.shape}"
    if want.size:
        assert_agree(got.get(), want, 1e-9, place)


def course(
    memory: Any, example: Example, lengths: Sequence[int], document: Ids
) -> list[dict[str, Any]]:
    """What forward and backward of every piece give, each going on from the one before it."""
    found: list[dict[str, Any]] = []
    edges = list(pairwise([0, *accumulate(lengths)]))
    state = None
    for piece, (begin, end) in zip(example.pieces(lengths), edges, strict=True):
        ids = None if document is None else document[:, begin:end]
        y, saved = memory.forward(piece, state, document=ids)
        state = saved.end
        found.append({"y": y, "saved": saved, "end": state})
    d_state = None
    for call, (begin, end) in zip(reversed(found), reversed(edges), strict=True):
        gradients = memory.backward(call["saved"], example.dy[:, begin:end], d_state)
        d_state = call["d_state"] = gradients.pop("state", None)
        call["gradients"] = gradients
    return found


class Silent(EmulatedDevice):
    """Copies of operations that run on the host are not counted, so that the memory's own are."""

    def upload(self, x: Array) -> Any:
        return DeviceArray(np.array(x))

    def download(self, x: Any) -> Any:
        return x.host.copy()


def silent_memory(example: Example) -> Any:
    """On a device whose operations are taken to run there."""
    backend = OnHost(device=Silent())
    return mcore.memory(**example.composition, backend=backend, dtype="float64")


def host_state(state: MemoryState) -> MemoryState:
    """As a file would give it back."""
    return replace(state.on(np), origin=str(state.origin))
