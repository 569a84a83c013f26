"""The CuPy backend: the memory on a GPU, in CUDA kernels with hand-written backward passes."""

from mcore.backends.cupy_gpu.backend import CupyBackend

__all__ = ["CupyBackend"]
