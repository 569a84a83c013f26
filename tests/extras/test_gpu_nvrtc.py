"""The compiler that CuPy calls takes every source, without a GPU, a driver or a toolkit."""

import pytest
from test_gpu_compile import asked

from mcore.backends.cupy_gpu.sources import NVRTC, Variant, families, source

nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc")


@pytest.fixture(autouse=True)
def a_compiler() -> None:
    try:
        nvrtc.getVersion()
    except Exception as error:
        pytest.skip(f"NVRTC cannot be loaded: {error}")


@pytest.mark.parametrize("family", families())
def test_it_compiles(family: str) -> None:
    variant = max(launch.variant for launch in asked() if launch.variant.family == family)
    assert len(cubin_of(variant, "sm_90")) > 1000


def test_a_mistake_is_found() -> None:
    with pytest.raises(nvrtc.NVRTCError):
        cubin_of(Variant("decode", "float32", "float32"), "sm_90")  # its constants are missing


def cubin_of(variant: Variant, architecture: str) -> bytes:
    program = nvrtc.createProgram(source(variant.family), f"{variant.family}.cu", (), ())
    options = (*NVRTC, f"--gpu-architecture={architecture}", *variant.options)
    try:
        nvrtc.compileProgram(program, options)
    except nvrtc.NVRTCError as error:
        error.add_note(nvrtc.getProgramLog(program))
        raise
    found: bytes = nvrtc.getCUBIN(program)
    return found
