"""Recurrences as graphs: one file per family. `FORMS` is the one list to extend."""

from mcore.errors import SpecError
from mcore.export.rules.base import Inputs, RuleForm
from mcore.export.rules.chunked import DlaForm, TitansForm, YaadForm
from mcore.export.rules.decayed import DecayedForm, GlaForm
from mcore.export.rules.delta import DeltaForm, GatedDeltaForm
from mcore.export.rules.linear import LinearForm
from mcore.export.rules.mirror import MemoraForm, MonetaForm
from mcore.export.rules.mlstm import MlstmForm
from mcore.export.rules.rwkv7 import Rwkv7Form
from mcore.export.rules.slstm import SlstmForm
from mcore.export.rules.swla import SwlaForm
from mcore.export.rules.vector import GruForm, LstmForm
from mcore.recurrence import Dims, Recurrence

FORMS: dict[str, type[RuleForm]] = {
    "linear": LinearForm,
    "retention": DecayedForm,
    "gated_linear": DecayedForm,
    "mamba2": DecayedForm,
    "gla": GlaForm,
    "swla": SwlaForm,
    "delta": DeltaForm,
    "gated_delta": GatedDeltaForm,
    "rwkv7": Rwkv7Form,
    "mlstm": MlstmForm,
    "dla": DlaForm,
    "titans": TitansForm,
    "yaad": YaadForm,
    "moneta": MonetaForm,
    "memora": MemoraForm,
    "lstm": LstmForm,
    "gru": GruForm,
    "slstm": SlstmForm,
}

__all__ = ["FORMS", "Inputs", "RuleForm", "rule_form"]


def rule_form(rule: Recurrence, dims: Dims) -> RuleForm:
    """A rule's equations as a graph.

    Raises:
        SpecError: nobody has written them down as one.
    """
    if rule.kind not in FORMS:
        raise SpecError(
            f"recurrence: {rule.kind} has no ONNX form; {', '.join(FORMS)} have, and a class in "
            "mcore.export.rules.FORMS would give it one"
        )
    return FORMS[rule.kind](rule, dims)
