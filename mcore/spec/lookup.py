"""What the schema says about a place in a spec: which sections may stand there."""

from functools import lru_cache
from typing import Any, get_args

from mcore.spec.schema import KeyPath, Section, Spec


@lru_cache(maxsize=4096)
def sections_at(path: KeyPath) -> tuple[type[Section], ...]:
    """The section classes that may stand at a path: none for a value, several where one chooses."""
    sections: tuple[type[Section], ...] = (Spec,)
    for key in path:
        if isinstance(key, int):
            continue
        fields = [section.model_fields[key] for section in sections if key in section.model_fields]
        found = [inner for field in fields for inner in _sections_in(field.annotation)]
        sections = tuple(dict.fromkeys(found))
    return sections


def section_of(path: KeyPath, data: Any) -> type[Section] | None:
    """The section class at a path whose data is known: its discriminator chooses."""
    sections = sections_at(path)
    if len(sections) < 2:
        return sections[0] if sections else None
    chosen = data.get(discriminator(path)) if isinstance(data, dict) else data
    return next((section for section in sections if name_of(section) == chosen), None)


def discriminator(path: KeyPath) -> str:
    """`kind`, `task` or `mixer`: the key that a bare string at this path stands for, or ``."""
    return next((section.discriminator for section in sections_at(path)), "")


def default_name(path: KeyPath) -> str:
    """What the discriminator at a path is when the spec says nothing, or ``."""
    fields = [section.model_fields.get(str(path[-1])) for section in sections_at(path[:-1])]
    default = next((field.default for field in fields if field), None)
    return name_of(type(default)) if isinstance(default, Section) else ""


def name_of(section: type[Section]) -> str:
    """The value of the discriminator that stands for this section."""
    chosen = section.model_fields.get(section.discriminator)
    return str(chosen.default) if chosen else ""


def names_at(path: KeyPath) -> list[str]:
    """Everything that the discriminator at a path may be."""
    sections = sections_at(path)
    if len(sections) == 1:
        literal = sections[0].model_fields[sections[0].discriminator].annotation
        return [*get_args(literal)] or [name_of(sections[0])]
    return [name_of(section) for section in sections]


@lru_cache(maxsize=256)
def homes_of(key: str) -> tuple[str, ...]:
    """The dotted paths of all sections of a spec, outside of blocks, that know a key."""
    return tuple(dict.fromkeys(_homes(key, (), (Spec,))))


def _homes(key: str, path: KeyPath, sections: tuple[type[Section], ...]) -> list[str]:
    found = [".".join(map(str, path)) for section in sections if key in section.model_fields]
    for name in dict.fromkeys(name for section in sections for name in section.model_fields):
        below = (*path, name)
        found += _homes(key, below, sections_at(below)) if name != "blocks" else []
    return found


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _sections_in(inner)]
