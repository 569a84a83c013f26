"""What all sections of a spec share: strictness, ranges, string shorthand, findings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic import GetCoreSchemaHandler as CoreHandler
from pydantic import GetJsonSchemaHandler as JsonHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of a spec: `("model", "blocks", 0, "window")`."""

_MOST = 2**31 - 1


class Section(BaseModel):
    """A mapping of a spec: immutable, no unknown keys, no conversion of one type to another."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    discriminator: ClassVar[str] = ""
    """The key that a bare string stands for, and that chooses among alternatives."""

    noun: ClassVar[str] = ""
    """What the discriminator names, in messages."""


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Listed = BeforeValidator(_listed)
"""Lets a tuple be written as a list, which strict mode would refuse."""

Count = Annotated[int, Field(ge=1, le=_MOST)]
CountOrZero = Annotated[int, Field(ge=0, le=_MOST)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class Finding(NamedTuple):
    """Something wrong in a spec, before it is known where in a file it stands.

    Attributes:
        path: the key to change.
        message: what is wrong and what would do.
        needs: for a conflict between keys, the paths of the other keys.
    """

    path: KeyPath
    message: str
    needs: tuple[KeyPath, ...] = ()

    def below(self, path: KeyPath) -> "Finding":
        """The same finding, told from further up."""
        return Finding(path + self.path, self.message, tuple(path + other for other in self.needs))


def refuse(findings: Sequence[Finding]) -> None:
    """Raise the findings of a validator, if there are any, as one pydantic error."""
    if findings:
        raise PydanticCustomError("findings", "keys contradict each other", {"findings": findings})


@dataclass(frozen=True)
class Shorthand:
    """Annotation: a bare string `x` stands for `{key: x}`, in specs and in the JSON schema."""

    key: str

    def __get_pydantic_core_schema__(self, source: Any, handler: CoreHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._expand, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: JsonHandler
    ) -> dict[str, Any]:
        mapping = handler(schema)
        names = mapping.get("discriminator", {}).get("mapping", {})
        text = {"type": "string", "enum": [*names]} if names else {"type": "string"}
        return {"anyOf": [text, mapping]}

    def _expand(self, value: Any) -> Any:
        if isinstance(value, str):
            return {self.key: value}
        if isinstance(value, Mapping | BaseModel):
            return value
        raise PydanticCustomError("shorthand", "neither a name nor a mapping")
