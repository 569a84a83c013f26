"""How much each checkpoint, and the online memory, counts for each token.

Every readout is `y_t = g_t,online * o_t + sum_i g_t,i * M_i(q_t)` over the checkpoints i that token
t may read; what differs is where the gates g come from (Behrouz et al. 2026, section 3.2).

    base        what a memory layer needs to know of a readout
    constant    no parameters: none, residual, moving_average
    routed      a softmax over contexts: grm, soup, ssc
    sigmoid     gates per channel from the memories' answers
"""

from mcore.readout.base import Readout
from mcore.readout.constant import MovingAverage, NoReadout, Residual
from mcore.readout.routed import Grm, Routed, Soup, Ssc
from mcore.readout.sigmoid import Sigmoid

__all__ = [
    "READOUTS",
    "Grm",
    "MovingAverage",
    "NoReadout",
    "Readout",
    "Residual",
    "Routed",
    "Sigmoid",
    "Soup",
    "Ssc",
]

READOUTS: dict[str, type[Readout]] = {
    readout.kind: readout
    for readout in (NoReadout, Residual, Grm, Soup, Ssc, Sigmoid, MovingAverage)
}
