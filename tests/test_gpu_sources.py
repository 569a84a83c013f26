"""Sources: a GPU finds each kernel by the name that it is written with."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mcore.backends.cupy_gpu.sources import families, kernels, source


@pytest.mark.parametrize("family", families())
def test_kernels_have_the_linkage_of_c(family: str) -> None:
    text = source(family)
    assert kernels(family)
    assert text.count("__global__") == text.count('extern "C" __global__') == len(kernels(family))


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on the PATH")
def test_the_compiler_leaves_their_names(tmp_path: Path) -> None:
    (tmp_path / "sums.cu").write_text(source("sums"))
    command = ["nvcc", "-std=c++17", "-arch=sm_90", "-ptx", "-o", "sums.ptx", "sums.cu"]
    subprocess.run(command, cwd=tmp_path, check=True)
    text = (tmp_path / "sums.ptx").read_text()
    assert all(f".entry {name}(" in text for name in kernels("sums"))
