"""Backends, installed as `mcore.backends` and reached only through `mcore.backend.get_backend`.

The package is callable, because importing it makes it the attribute `backends` of `mcore`, where
the public function `mcore.backends()` lives: both answer alike.
"""

import sys
from types import ModuleType

from mcore.backend import BackendReport, report

if __name__ != "mcore.backends":
    raise ImportError(f"import mcore.backends, not {__name__}")


class _CallablePackage(ModuleType):
    def __call__(self) -> list[BackendReport]:
        return report()


sys.modules[__name__].__class__ = _CallablePackage
