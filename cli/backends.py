"""`mcore backends`: what can run here."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mcore.backend import BackendReport


def backends() -> None:
    """List the backends: which run here, what runs in fast kernels, how to get the others.

    What a backend does not accelerate, the reference computes.

    Example: mcore backends
    """
    from mcore.backend import report

    reports = report()
    width = max((len(backend.name) for backend in reports), default=0)
    for backend in reports:
        typer.echo(f"{backend.name:<{width}}  {_told(backend)}")


def _told(backend: "BackendReport") -> str:
    if not backend.available:
        return f"not here: {backend.missing}"
    return f"here; fast kernels: {', '.join(backend.accelerates) or 'none'}"
