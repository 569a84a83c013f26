"""Thousands of independent streams through one model, advanced together.

pool      what can be done with streams               roster   where each is: who makes room
batch     those in memory, in slots                   folder   those on disk
inputs    feeds, checked                              ragged   feeds of different lengths
rows      memories of all slots, decoded in place     apart    memories that have no decoder
carried   what else streams carry: tails, positions
"""

from mcore.pool.pool import SessionPool

__all__ = ["SessionPool"]
