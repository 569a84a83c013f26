"""The emulated GPU backend for tests that hold host arrays: copied there and back at every call."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mcore.backends.cupy_gpu.backend import CupyBackend
from mcore.backends.cupy_gpu.emulation.array import DeviceArray, traffic
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.backends.cupy_gpu.host import moved

LIMITS = {"float64": 1e-9, "float32": 1e-5}
"""How far kernels may be off the reference, relative to the largest entry."""


class Hosted:
    """Operations of the GPU backend on host arrays; what they save stays on the device.

    Attributes:
        gpu: the backend itself.
    """

    def __init__(self, seed: int = 1) -> None:
        self.gpu = CupyBackend(device=EmulatedDevice(seed))

    def up(self, x: Any) -> Any:
        """Every array moved to the device."""
        return moved(x, self.gpu.device.upload, np.ndarray)

    def down(self, x: Any) -> Any:
        """Every array moved to the host."""
        return moved(x, self.gpu.device.download, DeviceArray)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = getattr(self.gpu, name)

        def forward(*arguments: Any) -> Any:
            output, saved = operation(*self.up(arguments))
            return self.down(output), saved

        def backward(saved: Any, *d_output: Any) -> Any:
            return self.down(operation(saved, *self.up(d_output)))

        return backward if name.endswith("_backward") else forward


def copies(gpu: CupyBackend, run: Callable[[], Any]) -> tuple[int, int]:
    """How often `run` copied to the host and to the device, once it had run before."""
    run()
    traffic.reset()
    run()
    return traffic.down, traffic.up
