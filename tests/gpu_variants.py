"""Which kernels a memory asks for, and with what, found by asking without running them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from gpu_cases import Held

import mcore
from mcore.backend import Decoding
from mcore.backends.cupy_gpu.backend import CupyBackend
from mcore.backends.cupy_gpu.decode import CupyDecoder
from mcore.backends.cupy_gpu.decode_plan import decodes
from mcore.backends.cupy_gpu.device import Kernel, Shape, arguments
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.backends.cupy_gpu.sources import Variant
from mcore.cache import MemoryState
from mcore.model.network import Model
from mcore.recurrence import Dims
from mcore.spec import load_spec
from mcore.spec.compile import layout_of
from mcore.testing.agreement import answer
from mcore.testing.strategies import Example, Sizes
from mcore.training.sample import optimizer_of


class Launch(NamedTuple):
    """A kernel that was launched.

    Attributes:
        variant, name: which.
        threads: in a block.
        shared: bytes of shared memory of a block.
    """

    variant: Variant
    name: str
    threads: int
    shared: int


class DryDevice(EmulatedDevice):
    """Launches nothing, and remembers what should have been.

    Attributes:
        launches: all of them, each once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches: set[Launch] = set()

    def kernel(self, variant: Variant, name: str) -> Kernel:
        def call(grid: Shape, block: Shape, values: Sequence[Any], shared: int = 0) -> None:
            arguments(values, variant.real)
            threads = 1
            for size in block:
                threads *= size
            self.launches.add(Launch(variant, name, threads, shared))

        return call


class Dry(Held):
    """The reference, with the GPU's operations asked for beside it and not compared."""

    def __init__(self, device: DryDevice) -> None:
        super().__init__("float32", gpu=CupyBackend(device=device))

    def compare(self, name: str, got: Any, want: Any) -> None:
        self.compared.add(name)


def launches_of(recurrence: Any, readout: Any, width: int) -> set[Launch]:
    """What a memory of width K = V launches, forward and backward."""
    device = DryDevice()
    sizes = Sizes(B=1, T=5, H=1, K=width, V=width)
    cut = {"kind": "constant", "length": 2}
    example = Example(
        {
            "recurrence": recurrence,
            "segmentation": cut,
            "readout": readout,
            "start": "independent",
        },
        sizes,
        0,
    )
    memory = mcore.memory(**example.composition, backend=Dry(device), dtype="float32")
    with np.errstate(all="ignore"):  # where no kernel ran, there are any numbers
        answer(memory, example)
    return device.launches


def training_launches() -> set[Launch]:
    """What a step of a network launches outside its memory: layers, attention, loss, optimizer."""
    device = DryDevice()
    backend = CupyBackend(device=device)
    spec = load_spec(
        {
            "model": {"width": 64, "depth": 2, "heads": 1, "blocks": ["memory", "attention"]},
            "memory": {
                "recurrence": "gated_delta",
                "segmentation": {"kind": "constant", "length": 4},
            },
            "data": {"task": "mqar", "vocab": 64, "length": 16, "pairs": 2},
        }
    )
    layout = layout_of(spec, backend, "float32")
    model = Model(spec, layout, layout.init(np.random.default_rng(0), "float32"), backend)
    tokens = np.zeros((1, 16), np.int64)
    with np.errstate(all="ignore"):
        loss, saved = model.loss(tokens, tokens)
        optimizer_of(model).descend(loss, model.loss_backward(saved), 1e-3, 1.0)
    return device.launches


def decoding_launches_of(recurrence: Any, readout: Any, width: int) -> set[Launch]:
    """What a token of a stream launches; nothing where there is no decoder."""
    device, dims = DryDevice(), Dims(1, 1, 1, width, width)
    cut = {"kind": "constant", "length": 2}
    memory = mcore.memory(recurrence, cut, readout, backend="reference", dtype="float32")
    decoding = Decoding(memory.rule, memory.readout, memory.cache, False, dims, None)
    if not decodes(decoding):
        return set()
    decoder = CupyDecoder(device, decoding, moved(memory.empty(dims), device))
    decoder.feed(decoder.token_arrays(), None)
    return device.launches


def moved(state: MemoryState, device: EmulatedDevice) -> MemoryState:
    """A state whose floating-point arrays lie on the device."""
    floats = ("online", "checkpoints", "scales", "contexts", "keys")
    return replace(state, **{name: device.upload(getattr(state, name)) for name in floats})
