"""Operations that have no kernels: computed by the reference, on the host, and copied back.

Correct and slow. What takes this way is not among `accelerates()`, so the plan says so.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.backends.numpy_ref.backend import ReferenceBackend

_REFERENCE = ReferenceBackend()


def on_host(name: str) -> Pair:
    """The reference's operation `name` and its backward."""
    forward, backward = getattr(_REFERENCE, name), getattr(_REFERENCE, f"{name}_backward")

    def run(device: Device, *arguments: Any) -> tuple[Any, Any]:
        output, saved = forward(*moved(arguments, device.download, device.xp.ndarray))
        return moved(output, device.upload, np.ndarray), saved

    def back(device: Device, saved: Any, *d_output: Any) -> Any:
        found = backward(saved, *moved(d_output, device.download, device.xp.ndarray))
        return moved(found, device.upload, np.ndarray)

    return Pair(run, back)


def moved(x: Any, move: Callable[[Any], Any], kind: type) -> Any:
    """Every array of a kind moved, also inside tuples and dicts; cuts stay on the host."""
    if isinstance(x, kind):
        return move(x)
    if isinstance(x, dict):
        return {name: moved(y, move, kind) for name, y in x.items()}
    if isinstance(x, tuple):
        parts = [moved(y, move, kind) for y in x]
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    return x
