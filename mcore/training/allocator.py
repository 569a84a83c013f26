"""Freed memory kept for the next step, instead of handed back to the system and asked for again."""

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Tell the C library's allocator not to return memory; does nothing but on glibc.

    A training step allocates and frees the same arrays over and over. Each block that goes back
    to the system costs a page fault per 4 KiB when it returns: about a tenth of a step's time.
    So blocks of any size come from one heap, which never shrinks and which all threads share.
    The setting is the process's, so only a program that owns its process should call this.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_ARENA_MAX, 1)
