"""`scan` of deep memories, in the form of the backend's operation."""

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.cupy_gpu.deep_chunks import BY_CHUNKS
from mcore.backends.cupy_gpu.deep_forms import Form, OnlineSaved
from mcore.backends.cupy_gpu.deep_online import online, online_backward
from mcore.backends.cupy_gpu.deep_scan import BY_TOKENS
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.recurrence import Inputs
from mcore.recurrence.mlp_memory import MlpMemory
from mcore.segments import Segments


def form_of(rule: MlpMemory) -> Form:
    """The kernels of a rule: by chunks if it has them."""
    return BY_CHUNKS if getattr(rule, "chunk", 1) > 1 else BY_TOKENS


def scan(
    device: Device, rule: MlpMemory, inputs: Inputs, carry: Array | None, segments: Segments
) -> tuple[Scan, OnlineSaved]:
    """See `mcore.backend.Backend.scan`."""
    found, saved = online(device, form_of(rule), (rule, inputs, carry, segments), None)
    return found.scan, saved


def scan_backward(
    device: Device, saved: OnlineSaved, d_reads: Array, d_checkpoints: Array
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    ends = (d_checkpoints, None)
    found = online_backward(device, form_of(saved.rule), saved, d_reads, ends)
    return found.inputs, found.carry


DEEP_SCAN = Pair(scan, scan_backward)
