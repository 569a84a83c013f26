"""Recurrences: one file per rule. `RULES` is the one list to extend."""

from mcore.recurrence.base import Dims, Feature, Gate, Inputs, Law, Parameter, Recurrence
from mcore.recurrence.delta import Delta
from mcore.recurrence.gated_delta import GatedDelta
from mcore.recurrence.gated_linear import GatedLinear
from mcore.recurrence.linear import Linear
from mcore.recurrence.retention import Retention

RULES: dict[str, type[Recurrence]] = {
    rule.kind: rule for rule in (Linear, Retention, GatedLinear, Delta, GatedDelta)
}

__all__ = ["RULES", "Dims", "Feature", "Gate", "Inputs", "Law", "Parameter", "Recurrence"]
