"""mcore: memory-caching recurrent networks with hand-written backward passes.

A recurrence says what one token does to the memory; a segmentation says where the sequence is cut
and checkpoints are kept; a readout says how much each checkpoint counts.

    memory                       raw arrays in, raw arrays out: the layer for other stacks
    load_spec, plan, compile     YAML -> spec -> costs, or a model
    train, load                  what `mcore train` runs; a trained model from its run folder
    backends                     what is available here, what is accelerated, and why not
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mcore.errors import (
    BackendError,
    DataError,
    InputError,
    McoreError,
    NonFiniteError,
    OutOfMemoryError,
    ShapeError,
    SnapshotError,
    SpecError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from mcore.backend import BackendReport
    from mcore.compose import memory
    from mcore.memory_layer import Memory
    from mcore.model import Model
    from mcore.pool import SessionPool
    from mcore.session import Session
    from mcore.spec import Spec
    from mcore.spec.plan import Plan
    from mcore.stream import Stream
    from mcore.training import Result

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "DataError",
    "InputError",
    "McoreError",
    "Memory",
    "Model",
    "NonFiniteError",
    "OutOfMemoryError",
    "Session",
    "SessionPool",
    "ShapeError",
    "SnapshotError",
    "Spec",
    "SpecError",
    "Stream",
    "backends",
    "compile",
    "load",
    "load_spec",
    "memory",
    "plan",
    "train",
]

_LAZY = {
    "Memory": "mcore.memory_layer",
    "Model": "mcore.model",
    "Session": "mcore.session",
    "SessionPool": "mcore.pool",
    "Spec": "mcore.spec",
    "Stream": "mcore.stream",
    "memory": "mcore.compose",
}
"""Names that bring NumPy or more with them: loaded on first use, so `mcore --help` is quick."""


def load_spec(source: "str | Path | Mapping[str, Any]", overrides: Sequence[str] = ()) -> "Spec":
    """A checked spec from a YAML file or a dict, with `path=value` overrides.

    Raises:
        SpecError: with every problem at once, each as `file:line: path: what; what would do`.
    """
    from mcore.spec import load_spec

    return load_spec(source, overrides)


def plan(spec: "Spec | Mapping[str, Any]") -> "Plan":
    """What a spec costs before anything runs; `str(plan)` is a table. See `mcore.spec.plan`."""
    from mcore.spec.plan import plan

    return plan(spec)


def compile(
    spec: "Spec | Mapping[str, Any]",
    *,
    backend: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
) -> "Model":
    """A model with fresh parameters, a pure function of the spec. See `mcore.spec.compile`."""
    from mcore.spec.compile import compile

    return compile(spec, backend=backend, dtype=dtype, threads=threads)


def train(spec: "Spec | Mapping[str, Any]", out: "str | Path | None" = None) -> "Result":
    """Train what a spec describes, as `mcore train` does. See `mcore.training`."""
    from mcore.spec.compile import compile
    from mcore.training import run

    return run(load_spec(spec) if isinstance(spec, Mapping) else spec, compile, out)


def load(path: "str | Path", overrides: Sequence[str] = ()) -> "Model":
    """A trained model from a run folder (its best snapshot) or from a snapshot file.

    Args:
        path: of the folder or the file.
        overrides: `path=value` changes to its spec that keep all parameters: for one trained
            without a cache, `["memory.segmentation=constant", "memory.readout=moving_average"]`.

    Raises:
        SnapshotError: nothing readable is there, or a model with other parameters.
        SpecError: an override that is wrong.
    """
    from mcore.spec.restore import restore

    return restore(path, overrides)


def backends() -> "list[BackendReport]":
    """What is available here, what is accelerated, and what is missing."""
    from mcore.backend import report

    return report()


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'mcore' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
