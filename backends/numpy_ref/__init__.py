"""The reference backend: the definition of every operation, in plain NumPy, token by token."""

from mcore.backends.numpy_ref.backend import ReferenceBackend

__all__ = ["ReferenceBackend"]
