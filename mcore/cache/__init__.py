"""What a memory carries from call to call.

state    the state: online memory, checkpoints, contexts    columns  which checkpoints stay
policy   how many, in what dtype, and which go first        compact  checkpoints in fewer bytes
settle   the cache after a call: pick, evict, merge
"""

from mcore.cache.columns import join, keep, keep_backward, kept
from mcore.cache.compact import Compact, compact, expand
from mcore.cache.policy import CachePolicy
from mcore.cache.settle import Cache, Settled, settle, settle_backward
from mcore.cache.state import LEDGER, MemoryState, Widths, check_state, empty_state

__all__ = [
    "LEDGER",
    "Cache",
    "CachePolicy",
    "Compact",
    "MemoryState",
    "Settled",
    "Widths",
    "check_state",
    "compact",
    "empty_state",
    "expand",
    "join",
    "keep",
    "keep_backward",
    "kept",
    "settle",
    "settle_backward",
]
