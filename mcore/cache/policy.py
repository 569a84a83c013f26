"""What bounds a cache on an endless stream."""

from dataclasses import dataclass
from typing import Literal, get_args

from mcore.errors import SpecError

Evict = Literal["oldest", "merge", "least_used"]
CacheDtype = Literal["float32", "float16", "bfloat16", "int8"]


@dataclass(frozen=True)
class CachePolicy:
    """How many checkpoints are held, in what dtype, and which goes when there is one too many.

    `oldest`: the oldest goes. `merge`: the two neighbours with the fewest tokens become one: the
    sum of matrix memories (which `residual` cannot tell from both), the mean of others, weighted
    by tokens; contexts likewise. `least_used`: the one that received the least gate mass per token
    since it was cached goes; needs a readout that routes. Ties go to the older.

    Raises:
        SpecError: an unknown value, or a limit below 1.
    """

    limit: int | None = None
    evict: Evict = "oldest"
    dtype: CacheDtype | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise SpecError(f"cache.limit: {self.limit} is too small; 1 or more would do")
        for name, allowed in (("evict", Evict), ("dtype", CacheDtype)):
            value, would_do = getattr(self, name), get_args(allowed)
            if value not in would_do and not (name == "dtype" and value is None):
                raise SpecError(
                    f"cache.{name}: {value!r} is unknown; {', '.join(would_do)} would do"
                )

    @property
    def window(self) -> int | None:
        """The number of latest checkpoints that are visible, if that is all there is to it."""
        return self.limit if self.evict == "oldest" else None

    @property
    def stepwise(self) -> bool:
        """Whether what a segment sees depends on decisions made at the borders before it."""
        return self.limit is not None and self.evict != "oldest"
