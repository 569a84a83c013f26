"""Checks that mcore runs on itself, shipped so that third parties can run them on their own code.

verify        every theorem about a kernel or a backend: `verify_kernel`, `verify_backend`
theorems      the theorems by name
gradcheck     is a hand-written backward the derivative of its forward?
strategies    Hypothesis strategies: what memory to build, how big, cut where
samples       random inputs of realistic size for it
properties    theorems that every memory obeys
streaming     the same for a memory that is fed in pieces
agreement     how two answers are compared
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcore.testing.loading import load_function
    from mcore.testing.theorems.exchange import Exchange
    from mcore.testing.theorems.kernel import Kernel
    from mcore.testing.theorems.outcome import Report
    from mcore.testing.theorems.replay import replay
    from mcore.testing.theorems.search import Effort
    from mcore.testing.theorems.subject import Memories
    from mcore.testing.verify import verify_backend, verify_kernel

__all__ = [
    "Effort",
    "Exchange",
    "Kernel",
    "Memories",
    "Report",
    "load_function",
    "replay",
    "verify_backend",
    "verify_kernel",
]

_LAZY = {
    "Effort": "mcore.testing.theorems.search",
    "Exchange": "mcore.testing.theorems.exchange",
    "Kernel": "mcore.testing.theorems.kernel",
    "Memories": "mcore.testing.theorems.subject",
    "Report": "mcore.testing.theorems.outcome",
    "load_function": "mcore.testing.loading",
    "replay": "mcore.testing.theorems.replay",
    "verify_backend": "mcore.testing.verify",
    "verify_kernel": "mcore.testing.verify",
}
"""Loaded on first use: `mcore.testing.gradcheck` needs no Hypothesis."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'mcore.testing' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
