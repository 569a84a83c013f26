"""The entry point for raw arrays: a memory from the names of its axes."""

from collections.abc import Mapping
from typing import Any

from mcore.axes import Choice, make_cache, make_readout, make_recurrence, make_segmentation
from mcore.backend import Backend, get_backend
from mcore.cache import CachePolicy
from mcore.errors import SpecError
from mcore.memory_layer import Axes, Memory
from mcore.readout import Readout
from mcore.recurrence import Recurrence
from mcore.segmentation import Segmentation

STARTS = ("independent", "checkpoint")
DTYPES = ("float32", "float64")


def memory(
    recurrence: Choice | Recurrence = "linear",
    segmentation: Choice | Segmentation = "none",
    readout: Choice | Readout = "none",
    *,
    start: str = "independent",
    cache: Mapping[str, Any] | CachePolicy | None = None,
    backend: str | Backend = "numba",
    dtype: str = "float32",
) -> Memory:
    """A memory-caching layer over raw arrays: forward, hand-written backward, streaming step.

    `y_t = g_t,online o_t + sum_i g_t,i M_i(q_t)`: the recurrence makes o_t and the checkpoints
    M_i, the segmentation says where they are kept, the readout makes the gates g (Behrouz et al.
    2026, Eq. 4-5).

    Args:
        recurrence, segmentation, readout: a kind such as `"grm"`, or a dict with `kind` and
            options such as `{"kind": "ssc", "top_k": 4}`.
        start: `independent` (each segment's memory starts afresh) or `checkpoint` (it goes on
            from the one before), section 3.4.
        cache: what bounds the cache, such as `{"limit": 16, "evict": "merge", "dtype": "int8"}`;
            None keeps every checkpoint as computed.
        backend: name of an installed backend, or a loaded one.
        dtype: `float32` or `float64`.

    Raises:
        SpecError: an unknown kind or option.
        BackendError: the backend is not installed.

    Example:
        >>> layer = memory("gated_delta", {"kind": "constant", "length": 64}, "grm")
        >>> layer.inputs["beta"]
        'B T H'
    """
    for name, value, allowed in (("start", start, STARTS), ("dtype", str(dtype), DTYPES)):
        if value not in allowed:
            raise SpecError(f"{name}: {value!r} is unknown; {' or '.join(allowed)} would do")
    if isinstance(backend, str):
        backend = get_backend(backend)
    elif not hasattr(backend, "scan"):
        raise SpecError(f"backend: {backend!r} is neither a name nor a backend; 'numba' would do")
    axes = Axes(
        make_recurrence(recurrence),
        make_segmentation(segmentation),
        make_readout(readout),
        start,
        make_cache(cache),
    )
    return Memory(axes, backend, dtype)
