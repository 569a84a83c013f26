"""Which kernels run which rule: a line for each."""

from mcore.backends.cupy_gpu.pairs import Pair

SCANS: dict[str, Pair] = {}
"""By rule."""

READS: dict[str, Pair] = {}
"""By rule."""

SOUPS: dict[str, Pair] = {}
"""By rule; soup of memories whose reads are linear is a read, and never asked for."""
