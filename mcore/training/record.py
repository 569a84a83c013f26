"""run.json: what a run was made with, to know later what it can be compared to."""

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mcore.data import Task
from mcore.errors import DataError, printable
from mcore.spec.schema import Spec

_LONGEST = 1000
_PACKAGES = ("mcore", "numpy", "numba")
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


def describe_run(spec: Spec, task: Task, device: str | None = None) -> dict[str, Any]:
    """Seed, data, versions, machine, threads and command line; the name of the GPU, if any."""
    return {
        "seed": spec.train.seed,
        "data": task.description,
        "versions": _versions(),
        **({} if device is None else {"device": device}),
        "platform": platform.platform(),
        "threads": {
            "spec": spec.backend.threads,
            "cores": os.cpu_count(),
            "environment": {name: os.environ[name] for name in _THREADS if name in os.environ},
        },
        "command": sys.argv,
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not as it was when the run began and may change the last bits of its numbers.

    Raises: DataError when the data are not the same.
    """
    if then.get("data") != now["data"]:
        before = str(then.get("data"))[:_LONGEST]
        message = f"the data differ from when the run began: {before} then, {now['data']} now"
        raise DataError(f"{message}; put the files back, or begin a new run")
    keys = ("versions", "platform", "threads", "device")
    changed = [key for key in keys if then.get(key) != now.get(key)]
    notes = [f"{key} differ from when the run began: {then.get(key)} then" for key in changed]
    return [printable(note)[:_LONGEST] for note in notes]


def _versions() -> dict[str, str]:
    """Of Python, of our packages, and of CuPy where it is in use (its wheels have many names)."""
    found = {"python": platform.python_version()} | {p: _version(p) for p in _PACKAGES}
    cupy = sys.modules.get("cupy")
    return found if cupy is None else found | {"cupy": str(cupy.__version__)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
