"""How much memory something takes while it runs."""

import ctypes
import gc
import platform
from collections.abc import Callable
from pathlib import Path

_FORGET_PEAK = "5"
_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def extra_bytes(call: Callable[[], object]) -> int | None:
    """Peak resident memory of this process during a call, above what it was before.

    Only Linux says: None elsewhere. What was freed before is given back first, so that it does not
    hide what the call takes; what the call compiles and loads counts, so run it once before.
    """
    _give_back()
    try:
        _FORGET.write_text(_FORGET_PEAK)
        before = _kilobytes("VmRSS")
        call()
        return 1024 * max(0, _kilobytes("VmHWM") - before)
    except (OSError, StopIteration):
        return None


def _kilobytes(name: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def _give_back() -> None:
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
