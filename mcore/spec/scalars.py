"""What a plain YAML word means: YAML 1.2's core schema, as people read it.

PyYAML follows YAML 1.1, where `on` is true, `3e-3` is text, `1:30` is ninety and `010` is eight.
Here only true and false are booleans, `3e-3` is a number, `1:30` is text and `010` is ten.
"""

import re

import yaml

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,300}|[-+]?[0-9]{1,60}(?:_[0-9]{1,60}){1,4}|0x[0-9a-fA-F]{1,60}")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]{1,300}\.?[0-9]{0,300}|\.[0-9]{1,300})(?:[eE][-+]?[0-9]{1,9})?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)

Scalar = str | int | float | bool | None


def meaning(word: str) -> Scalar:
    """The value of a plain (unquoted) word."""
    if _NULL.fullmatch(word):
        return None
    if _BOOL.fullmatch(word):
        return word[0] in "tT"
    if _INT.fullmatch(word):
        return int(word, 16 if word.startswith("0x") else 10)
    if _FLOAT.fullmatch(word):
        return float(word.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return word


class SpecDumper(yaml.SafeDumper):
    """Writes words so that `meaning` reads them back: it quotes what only we take for a number."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  (PyYAML's way to start from nothing)


for _tag, _pattern in (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT)):
    SpecDumper.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern.pattern})\Z"), [None]
    )
