"""The compiler that CuPy calls takes the sources, and leaves kernels their names; without a GPU."""

import pytest

from mcore.backends.cupy_gpu.sources import Variant, kernels, source

nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", exc_type=ImportError)

VARIANTS = [
    Variant("norm", "float32", "bfloat16"),
    Variant("sums", "float32", "bfloat16"),
    Variant("cross_entropy", "float32", "bfloat16"),
    Variant("adamw", "float32", "float32"),
    Variant("rotary", "float64", "float64"),
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.family)
def test_a_module_has_the_kernels_by_name(variant: Variant) -> None:
    program = nvrtc.createProgram(source(variant.family), f"{variant.family}.cu", [], [])
    try:
        nvrtc.compileProgram(program, ("-std=c++17", "-arch=sm_90", *variant.options))
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    binary = nvrtc.getCUBIN(program)
    nvrtc.destroyProgram(program)
    assert all(name.encode() + b"\0" in binary for name in kernels(variant.family))
