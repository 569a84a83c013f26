"""The backend key: who executes the operations."""

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from mcore.spec.schema.base import Count, CountOrZero, Finding, Section, refuse
from mcore.spec.suggest import hint

ON_HOST = ("numba", "reference")

_OURS = ("cupy", *ON_HOST)


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
    device: CountOrZero | None = Field(
        default=None,
        description="Which GPU, of a backend that runs on one; the current one if null.",
    )

    products: Literal["float32", "tf32"] | None = Field(
        default=None,
        description="How a GPU multiplies float32: exactly (the default), or rounded to TF32.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        message = f"{self.kind} runs on the host; drop it, or backend.kind: cupy"
        found = [
            Finding((name,), message, (("kind",),))
            for name in ("device", "products")
            if getattr(self, name) is not None and self.kind in ON_HOST
        ]
        refuse(found)
        return self
