"""The cache key of a spec's memory: what bounds the checkpoints on an endless stream."""

from pydantic import Field

from mcore.cache.policy import CacheDtype, Evict
from mcore.spec.schema.base import Count, Section


class CacheSpec(Section):
    """How many checkpoints are held, in what dtype, and which goes first."""

    limit: Count | None = Field(default=None, description="Checkpoints held at most; all if null.")
    evict: Evict = Field(
        default="oldest", description="What goes when there is one too many; merge joins two."
    )
    dtype: CacheDtype | None = Field(
        default=None, description="How checkpoints are stored; as computed if null."
    )
