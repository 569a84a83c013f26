"""What the axes of a memory rule out, each once: for specs with their lines, and for raw arrays."""

from typing import NamedTuple

from mcore.cache import CachePolicy
from mcore.readout import Readout, Routed
from mcore.recurrence import Recurrence
from mcore.segmentation import Adaptive, Segmentation


class Conflict(NamedTuple):
    """Two keys of a composition that do not go together.

    Attributes:
        key: the key to change, below the memory.
        other: the key that it contradicts.
        message: what is wrong and what would do.
    """

    key: tuple[str, ...]
    other: tuple[str, ...]
    message: str

    @property
    def text(self) -> str:
        """The message behind the key."""
        return f"{'.'.join(self.key)}: {self.message}"


def conflicts(
    rule: Recurrence, segmentation: Segmentation, readout: Readout, cache: CachePolicy
) -> list[Conflict]:
    """Every conflict between the axes."""
    return [
        *_of_cuts(rule, segmentation),
        *_of_query(rule, readout),
        *_of_cache(readout, cache),
    ]


def _of_cuts(rule: Recurrence, segmentation: Segmentation) -> list[Conflict]:
    if not isinstance(segmentation, Adaptive) or segmentation.rule != "surprise":
        return []
    if rule.learns_from_error:
        return []
    message = (
        f"surprise needs a memory that learns from its error, and {rule.kind} does not; drift "
        "would do, or a recurrence such as gated_delta"
    )
    return [Conflict(("segmentation", "rule"), ("recurrence",), message)]


def _of_query(rule: Recurrence, readout: Readout) -> list[Conflict]:
    if not isinstance(readout, Routed) or readout.u != "shared" or "q" in rule.inputs:
        return []
    message = f"shared makes q the router's query, and {rule.kind} has none; learned would do"
    return [Conflict(("readout", "u"), ("recurrence",), message)]


def _of_cache(readout: Readout, cache: CachePolicy) -> list[Conflict]:
    if cache.evict != "least_used" or readout.routing is not None:
        return []
    message = (
        f"least_used looks at the gates of a routed readout, and {readout.kind} has none; oldest "
        "or merge would do, or a readout such as grm"
    )
    return [Conflict(("cache", "evict"), ("readout",), message)]
