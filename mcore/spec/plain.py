"""A mapping from Python -> the plain data that a YAML file would have given."""

import os
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from mcore.errors import SpecError
from mcore.spec.document import Document
from mcore.spec.dump import plain_spec
from mcore.spec.schema import Spec

_DEEPEST = 16


def plain(source: Mapping[str, Any] | Spec) -> Document:
    """Dicts, lists and scalars; tuples, paths and NumPy's numbers become what YAML has for them.

    Raises: SpecError when it is no mapping, or nested too deep (or in itself).
    """
    if isinstance(source, Spec):
        return Document(plain_spec(source))
    if not isinstance(source, Mapping):
        message = f"a spec is a file's path or a mapping, not {type(source).__name__}"
        raise SpecError(message)
    return Document(_plain(source, _DEEPEST))


def _plain(value: Any, levels: int) -> Any:
    if levels < 0:
        raise SpecError(f"nested more than {_DEEPEST} deep; a spec needs far less")
    if isinstance(value, Mapping):
        return {_text(str(key)): _plain(item, levels - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, levels - 1) for item in value]
    if isinstance(value, str | os.PathLike):
        return _text(str(os.fspath(value)))
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        message = "holds half a character (a lone surrogate), and specs are kept as UTF-8 text"
        raise SpecError(f"{text[:40]!r} {message}") from None
    return text
