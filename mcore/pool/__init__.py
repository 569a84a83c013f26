"""Thousands of independent streams through one model, advanced together.

pool      who is there, feeds, saves, evicts          batch    the streams in memory, in slots
folder    those on disk                               ragged   feeds of different lengths
rows      memories of all slots, decoded in place     apart    memories that have no decoder
carried   what else streams carry: tails, positions
"""

from mcore.pool.pool import SessionPool

__all__ = ["SessionPool"]
