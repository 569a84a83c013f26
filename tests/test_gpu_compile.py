"""Every CUDA source compiles for the architectures that the backend names, without a GPU."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mcore.backends.cupy_gpu.sources import families, source
from mcore.backends.cupy_gpu.variants import ARCHITECTURES, VARIANTS

nvcc = shutil.which("nvcc")


def test_every_source_has_a_variant() -> None:
    assert {variant.family for variant in VARIANTS} == set(families())


@pytest.mark.skipif(nvcc is None, reason="nvcc is not on the PATH")
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_it_compiles_without_a_warning(variant, tmp_path: Path) -> None:
    text = tmp_path / f"{variant.family}.cu"
    text.write_text(source(variant.family))
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
    strict = ("-std=c++17", "-fatbin", "-Werror=all-warnings", "--threads=0")
    command = [str(nvcc), *strict, *targets, *variant.options, "-o", str(tmp_path / "k"), str(text)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
