"""What this host's vector unit offers, and the tile shapes tuned for it."""

from collections.abc import Mapping

import llvmlite.binding as llvm
from numba.core import config

from mcore.backends.numba_cpu.caching import PORTABLE
from mcore.backends.numba_cpu.gemm_emit import Tiling

# Per vector width in bytes: rows of the tiles (tallest first) and vectors per tile. Accumulators,
# one row of B and a broadcast must fit the 32 (AVX-512, NEON) or 16 (AVX2) vector registers.
_TILES = {64: ((8, 4, 2, 1), 2), 32: ((6, 4, 2, 1), 2), 16: ((8, 4, 2, 1), 2)}


def _features() -> Mapping[str, bool]:
    """Features of the processor that Numba compiles for."""
    if config.CPU_FEATURES is not None:
        flags = [flag for flag in config.CPU_FEATURES.split(",") if flag]
        return {flag[1:]: flag[0] == "+" for flag in flags}
    try:
        return dict(llvm.get_host_cpu_features())
    except RuntimeError:
        return {}


def vector_bytes() -> int:
    """Width of this host's widest fused multiply-add, or 0 where it is unknown."""
    features = _features()
    if features.get("avx512f") and features.get("avx512vl"):
        return 64
    if features.get("avx2") and features.get("fma"):
        return 32
    return 16 if llvm.get_process_triple().startswith(("aarch64", "arm64")) else 0


def tiling(itemsize: int) -> Tiling | None:
    """How small products of this element size are cut, or None: use the portable loops."""
    width = 0 if PORTABLE else vector_bytes()
    if width == 0:
        return None
    rows, vectors = _TILES[width]
    return Tiling(width // itemsize, rows, vectors)


def lanes(itemsize: int) -> tuple[int, bool]:
    """Numbers in a vector, and whether there is a fused multiply-add for them."""
    width = 0 if PORTABLE else vector_bytes()
    return (width or 16) // itemsize, width > 0


def converts_half() -> bool:
    """Whether half precision converts to float32 in hardware."""
    if PORTABLE:
        return False
    features = _features()
    arm = llvm.get_process_triple().startswith(("aarch64", "arm64"))
    return arm or bool(features.get("f16c") or features.get("avx512f"))
