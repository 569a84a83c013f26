"""General compressors on the same held-out files: the numbers a byte model has to beat."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable


def compression_table(files: Iterable[bytes]) -> list[tuple[str, float]]:
    """(compressor, bits per byte), each at its strongest setting, every file on its own.

    Sum of compressed bits over sum of bytes, containers included (6 bytes a file for zlib, 14 to 50
    for bzip2, 60 to 90 for xz). A model is not asked for the first byte of a file; they are.

    Raises: ZeroDivisionError when there is no byte at all.
    """
    total, packed = 0, dict.fromkeys(_COMPRESSORS, 0)
    for file in files:
        total += len(file)
        for name, compress in _COMPRESSORS.items():
            packed[name] += len(compress(file))
    return [(name, 8 * size / total) for name, size in packed.items()]


def _zlib(data: bytes) -> bytes:
    return zlib.compress(data, 9)


def _bz2(data: bytes) -> bytes:
    return bz2.compress(data, 9)


def _lzma(data: bytes) -> bytes:
    # A dictionary larger than the file changes no output byte, but 64 MB of it is slow to set up.
    lzma2: dict[str, int] = {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "dict_size": min(max(len(data), 4096), 1 << 26),
    }
    return lzma.compress(data, filters=[lzma2])


_COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "zlib -9": _zlib,
    "bz2 -9": _bz2,
    "lzma -9e": _lzma,
}
