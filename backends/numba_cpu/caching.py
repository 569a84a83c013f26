"""Compile kernels once per machine, and never run a stale one.

Numba keys its on-disk cache by the file that holds the compiled function, so an edit to a device
function in another file would be missed. Here the cache folder is named by a hash of every source
of this package: any edit moves all kernels to a fresh folder.
"""

import hashlib
import inspect
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.misc.appdirs import AppDirs

from mcore.backends.numba_cpu.linking import DeviceCompiler, KernelCompiler

EXACT = {"fastmath": {"contract"}, "error_model": "numpy"}
"""Options of functions whose operations must keep their order: rounding tricks rely on it."""

_SUMS = {"contract", "reassoc", "nsz"}

PACKAGE = Path(__file__).resolve().parent
PORTABLE = os.environ.get("MCORE_PORTABLE_KERNELS", "0") not in ("", "0")


@cache
def source_hash() -> str:
    """Hash of all Python sources below this package, of the compiler, and of the chosen flavour."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {PORTABLE}".encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def cache_folder() -> Path:
    """Below $MCORE_CACHE_DIR, $NUMBA_CACHE_DIR or the user's cache folder: one per source hash."""
    named = os.environ.get("MCORE_CACHE_DIR") or os.environ.get("NUMBA_CACHE_DIR")
    root = Path(named) if named else Path(AppDirs(appname="mcore", appauthor=False).user_cache_dir)
    return root / "kernels" / source_hash()


class _PackageLocator(_CacheLocator):  # type: ignore[misc]
    """Puts the kernels of this package, and no other function's, below `cache_folder`."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        self._py_file = py_file
        self._place = f"{Path(py_file).resolve()}:{py_func.__code__.co_firstlineno}"
        if Path(py_file).resolve().is_relative_to(PACKAGE):
            relative = Path(py_file).resolve().relative_to(PACKAGE)
            self._place = f"{relative.as_posix()}:{py_func.__code__.co_firstlineno}"

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return source_hash()

    def get_disambiguator(self) -> str:
        return hashlib.sha256(self._place.encode()).hexdigest()[:10]

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> "_PackageLocator":
        locator = cls(py_func, py_file)
        locator.ensure_cache_path()
        return locator


class _KernelCacheImpl(CompileResultCacheImpl):  # type: ignore[misc]
    # Not calling the base: it would obey NUMBA_CACHE_LOCATOR_CLASSES, which misses callees.
    def __init__(self, py_func: Callable[..., Any]) -> None:
        self._lineno = py_func.__code__.co_firstlineno
        self._locator = _PackageLocator.from_function(py_func, inspect.getfile(py_func))
        self._filename_base = self.get_filename_base(
            py_func.__qualname__, getattr(sys, "abiflags", "")
        )


class _KernelCache(FunctionCache):  # type: ignore[misc]
    """Numba's function cache that treats a broken or unwritable disk as a cache miss."""

    _impl_class = _KernelCacheImpl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # A truncated pickle can raise nearly anything; compiling again is always right.
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            self._save(sig, data)
        except OSError:
            self.disable()

    def _save(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:
            raise
        except Exception:  # a damaged index: begin a new one
            self.flush()
            super().save_overload(sig, data)


def _attach_cache(dispatcher: Any) -> None:
    try:
        dispatcher._cache = _KernelCache(dispatcher.py_func)
    except (OSError, RuntimeError):
        return


def kernel(function: Callable[..., Any]) -> Any:
    """Compile an entry point called from Python: no GIL, cached on disk."""
    options = {"error_model": "numpy", "fastmath": _SUMS, "pipeline_class": KernelCompiler}
    dispatcher = numba.njit(nogil=True, **options)(function)
    _attach_cache(dispatcher)
    return dispatcher


def device(function: Callable[..., Any]) -> Any:
    """Compile a function that kernels call: it is compiled into each of them, never cached.

    Sums may be reordered, so that loops vectorise; NaN and infinities keep their meaning.
    Nothing may be allocated, so vectors are copied in loops: `x[:] = y` makes a temporary array.
    """
    return numba.njit(error_model="numpy", fastmath=_SUMS, pipeline_class=DeviceCompiler)(function)
