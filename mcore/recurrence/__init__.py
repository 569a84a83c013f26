"""Recurrences: one file per rule. `RULES` is the one list to extend."""

from mcore.recurrence.base import Dims, Inputs, Recurrence
from mcore.recurrence.delta import Delta
from mcore.recurrence.dla import Dla
from mcore.recurrence.gated_delta import GatedDelta
from mcore.recurrence.gated_linear import GatedLinear
from mcore.recurrence.gla import Gla
from mcore.recurrence.gru import Gru
from mcore.recurrence.laws import Derived, Feature, Gate, Law, Parameter
from mcore.recurrence.linear import Linear
from mcore.recurrence.lstm import Lstm
from mcore.recurrence.mamba2 import Mamba2
from mcore.recurrence.memora import Memora
from mcore.recurrence.mlstm import Mlstm
from mcore.recurrence.moneta import Moneta
from mcore.recurrence.retention import Retention
from mcore.recurrence.rwkv7 import Rwkv7
from mcore.recurrence.slstm import Slstm
from mcore.recurrence.swla import Swla
from mcore.recurrence.titans import Titans
from mcore.recurrence.yaad import Yaad

RULES: dict[str, type[Recurrence]] = {
    rule.kind: rule
    for rule in (
        Linear,
        Retention,
        GatedLinear,
        Mamba2,
        Gla,
        Swla,
        Delta,
        GatedDelta,
        Rwkv7,
        Mlstm,
        Dla,
        Titans,
        Yaad,
        Moneta,
        Memora,
        Lstm,
        Gru,
        Slstm,
    )
}

__all__ = [
    "RULES",
    "Derived",
    "Dims",
    "Feature",
    "Gate",
    "Inputs",
    "Law",
    "Parameter",
    "Recurrence",
]
