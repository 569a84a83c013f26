"""`scan` of deep memories, in the form of the backend's operation."""

from typing import Any

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.cupy_gpu.deep_scan import OnlineSaved, online, online_backward
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.host import on_host
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Segments

_HOST = on_host("scan")


def scan(
    device: Device, rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments
) -> tuple[Scan, Any]:
    """See `mcore.backend.Backend.scan`."""
    if getattr(rule, "chunk", 1) > 1:
        return _HOST.forward(device, rule, inputs, carry, segments)
    found, saved = online(device, rule, inputs, carry, segments, None)
    return found.scan, saved


def scan_backward(
    device: Device, saved: Any, d_reads: Array, d_checkpoints: Array
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    if not isinstance(saved, OnlineSaved):
        return _HOST.backward(device, saved, d_reads, d_checkpoints)
    found = online_backward(device, saved, d_reads, d_checkpoints, None)
    return found.inputs, found.carry


DEEP_SCAN = Pair(scan, scan_backward)
