"""What the metadata of a graph says of where it comes from and what bounds it."""

from collections.abc import Iterable
from typing import NamedTuple

EXACT = "mcore.exact_tokens"
"""Key of the number of tokens for which a graph gives what the model gives; absent for any."""

NOTES = "mcore.notes"


class Bound(NamedTuple):
    """Where a graph differs from what it was made of.

    Attributes:
        note: how, in words.
        tokens: it does not before so many.
    """

    note: str
    tokens: int


def facts(source: str, bounds: Iterable[Bound]) -> dict[str, str]:
    """Version, what it was made of, and what to mind."""
    from mcore import __version__

    found, held = {"mcore.version": __version__, "mcore.spec": source}, list(bounds)
    if held:
        found[NOTES] = "\n".join(bound.note for bound in held)
        found[EXACT] = str(min(bound.tokens for bound in held))
    return found
