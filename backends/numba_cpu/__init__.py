"""The CPU backend: kernels compiled by Numba for the host's vector unit, cached on disk."""

from mcore.backends.numba_cpu.backend import NumbaBackend

__all__ = ["NumbaBackend"]
