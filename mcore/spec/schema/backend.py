"""The backend key: who executes the operations."""

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from mcore.spec.schema.base import Count, Section
from mcore.spec.suggest import hint

_OURS = ("cupy", "numba", "reference")


def installed_backends() -> tuple[str, ...]:
    """Names that `backend` may have here, found without loading any."""
    return tuple(sorted({*_OURS, *(entry.name for entry in entry_points(group="mcore.backends"))}))


def _must_be_installed(name: str, info: ValidationInfo) -> str:
    if not (info.context and info.context["environment"]) or name in installed_backends():
        return name
    message = _missing(name, installed_backends())
    raise PydanticCustomError("environment", "{message}", {"message": message})


def _missing(name: str, installed: Sequence[str]) -> str:
    return f"{name!r} is not an installed backend{hint(name, installed)}"


class BackendSpec(Section):
    """The array library and its kernels."""

    discriminator: ClassVar[str] = "kind"
    noun: ClassVar[str] = "backend"

    kind: Annotated[str, AfterValidator(_must_be_installed)] = Field(
        default="numba", description="A name that `mcore backends` lists."
    )
    threads: Count | None = Field(default=None, description="Threads to use; all cores if null.")
