"""What the machine has, so that what cannot fit is refused before it is asked for."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@cache
def memory_bytes() -> int | None:
    """Bytes of memory that this process may hope for, swap aside; None where it cannot be told."""
    found = [_limit(Path(path)) for path in _CGROUPS]
    with suppress(AttributeError, OSError, ValueError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min((size for size in found if size is not None), default=None)


def beyond(size: int, device: int | None = None) -> str | None:
    """None if `size` bytes may fit; else `2.0 TiB, and this machine has 23.4 GiB of memory`.

    `device` are the bytes of a device that must hold them instead.
    """
    there, what = memory_bytes(), "this machine"
    if device is not None:
        there, what = device, "the device"
    if there is None or size <= there:
        return None
    return f"{amount(size)}, and {what} has {amount(there)} of memory"


def amount(size: int) -> str:
    """Bytes with a binary unit, from kibibytes to as many exbibytes as it takes."""
    for power, unit in ((6, "EiB"), (5, "PiB"), (4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024**power:
            tenths = size * 10 // 1024**power
            return f"{tenths // 10:,}.{tenths % 10} {unit}"
    return f"{size} B"


def _limit(path: Path) -> int | None:
    """A control group's limit; none if there is no file or it says `max`."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdecimal() else None
