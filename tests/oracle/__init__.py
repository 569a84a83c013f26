"""A second opinion on `mcore.memory`: token by token, from the equations, nothing shared with it.

    composition  the four axes of a memory, every spelling made a dict
    segments     where a row is cut
    rules        what one token does to one head's memory, and how the memory is read
    routing      how a token weighs the memories it sees
    readouts     what the cached memories and the online one give together
    tokens       the loops over rows, heads, segments and tokens; gradients by HIPS autograd
    attention    the same function as one (T, T) matrix per head, for additive and decayed rules

Nothing here imports mcore: an error would have to be made twice to go unseen.
"""

from oracle.attention import attention_gradients, attention_oracle, has_attention_form
from oracle.rules import knows
from oracle.segments import segment_lengths
from oracle.tokens import oracle, oracle_gradients, selection_gap

__all__ = [
    "attention_gradients",
    "attention_oracle",
    "has_attention_form",
    "knows",
    "oracle",
    "oracle_gradients",
    "segment_lengths",
    "selection_gap",
]
