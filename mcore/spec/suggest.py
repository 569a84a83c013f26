"""How messages quote values and suggest names: did you mean ...?"""

import difflib
from collections.abc import Iterable, Sequence

_LONGEST = 40
_WORDS = {None: "null", True: "true", False: "false"}


def hint(name: str, allowed: Sequence[str]) -> str:
    """`; did you mean 'x'? (x, y, z)`, or only the list if nothing is near."""
    near = nearest(name, allowed)
    listed = ", ".join(allowed)
    return f"; did you mean {near!r}? ({listed})" if near else f"; one of {listed} would do"


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that looks most like `name`, if any does."""
    if len(name) > _LONGEST:
        return None
    folded = {_fold(other): other for other in allowed}
    found = difflib.get_close_matches(_fold(name), folded, n=1)
    return folded[found[0]] if found else None


def brief(value: object) -> str:
    """A value as a message quotes it: YAML's words, on one line, escapes visible, not too long."""
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def kind_of(value: object) -> str:
    """A value as a message names it: `a list`, `a mapping`, or the value itself."""
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "a mapping"
    return brief(value)


def one(noun: str) -> str:
    """The noun with its article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")
