"""The recurrence axis of a spec, made from the table of rules: a new rule needs no line here."""

from dataclasses import Field as DataclassField
from dataclasses import fields, is_dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_type_hints

from pydantic import Field, create_model

from mcore.recurrence import RULES
from mcore.recurrence import Recurrence as Rule
from mcore.spec.schema.base import Section, Shorthand


class RecurrenceKind(Section):
    """Base of the update rules."""

    discriminator: ClassVar[str] = "kind"
    noun: ClassVar[str] = "recurrence"

    kind: str = ""


def _section_of(rule: type[Rule]) -> type[RecurrenceKind]:
    """A section whose keys are the rule's dataclass fields, described by their metadata."""
    title = (rule.__doc__ or "").strip().splitlines()[0]
    kind: Any = (Literal[rule.kind], Field(default=rule.kind, description=title))
    options: dict[str, Any] = {}
    hints = get_type_hints(rule)
    own: tuple[DataclassField[Any], ...] = fields(rule) if is_dataclass(rule) else ()
    for option in own:
        what, least = option.metadata["description"], option.metadata.get("least")
        field = Field(default=option.default, description=what, ge=least)
        options[option.name] = (hints[option.name], field)
    return create_model(rule.__name__, __base__=RecurrenceKind, __doc__=title, kind=kind, **options)


SECTIONS = {kind: _section_of(rule) for kind, rule in RULES.items()}
"""Kind -> the section that holds its options."""

if TYPE_CHECKING:
    Recurrence = RecurrenceKind
else:
    Recurrence = Annotated[
        reduce(or_, SECTIONS.values()), Field(discriminator="kind"), Shorthand("kind")
    ]
