"""The bugs, one file per kind of mistake; each function is one. Importing this registers them all.

pooling        contexts
gating         gates
selecting      the best few checkpoints
borders        what passes from one segment to the next
writing        what a token does to a matrix memory, and how that is read
descending     the same of perceptrons
recurring      the same of vectors and of the matrix LSTM
numerics       dtypes, buffers, what is written to
backward_*     terms that are missing from gradients: of the readout, of borders, of the rules
"""

from planted.bugs import (
    backward_borders,
    backward_readout,
    backward_rules,
    borders,
    descending,
    gating,
    numerics,
    pooling,
    recurring,
    selecting,
    writing,
)

__all__ = [
    "backward_borders",
    "backward_readout",
    "backward_rules",
    "borders",
    "descending",
    "gating",
    "numerics",
    "pooling",
    "recurring",
    "selecting",
    "writing",
]
