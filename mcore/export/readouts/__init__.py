"""Readouts as graphs: one file per kind. `FORMS` is the one list to extend."""

from mcore.errors import SpecError
from mcore.export.readouts.base import Answer, Held, ReadoutForm, Scene
from mcore.export.readouts.constant import MovingAverageForm, NoForm, ResidualForm
from mcore.export.readouts.routed import RoutedForm
from mcore.export.readouts.sigmoid import SigmoidForm
from mcore.readout import Readout

FORMS: dict[str, type[ReadoutForm]] = {
    "none": NoForm,
    "residual": ResidualForm,
    "grm": RoutedForm,
    "soup": RoutedForm,
    "ssc": RoutedForm,
    "sigmoid": SigmoidForm,
    "moving_average": MovingAverageForm,
}

__all__ = ["FORMS", "Answer", "Held", "ReadoutForm", "Scene", "readout_form"]


def readout_form(readout: Readout) -> ReadoutForm:
    """A readout's law as a graph.

    Raises:
        SpecError: nobody has written it down as one.
    """
    if readout.kind not in FORMS:
        raise SpecError(
            f"readout: {readout.kind} has no ONNX form; {', '.join(FORMS)} have, and a class in "
            "mcore.export.readouts.FORMS would give it one"
        )
    return FORMS[readout.kind](readout)
