"""What a number was measured on."""

import os
import platform
from pathlib import Path

import numba
import numpy as np


def machine() -> str:
    """Processor, cores, and the versions that matter."""
    versions = (
        f"Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}"
    )
    return f"{_processor()}, {os.cpu_count()} cores, {versions}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    features = next((line for line in lines if line.startswith("flags")), "")
    wide = next((f" ({f})" for f in ("avx512f", "avx2") if f in features), "")
    return (names[0] if names else platform.processor() or platform.machine()) + wide


def blas() -> str:
    """The processor that NumPy's OpenBLAS has chosen its kernels for."""
    from threadpoolctl import threadpool_info

    return next(
        (str(lib["architecture"]) for lib in threadpool_info() if "architecture" in lib), "?"
    )
