"""A model's forward and backward, as other libraries call them."""

from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING

from mcore.arrays import Array
from mcore.interop.host import Axes, Host, Saved
from mcore.interop.mapped import Arrays, Folding

if TYPE_CHECKING:
    from mcore.model import Model


class HostModel(Host):
    """A model: of its parameters, `tokens` and `document`; the output is `logits`.

    Backward takes `dlogits` as well. Gradients of parameters are summed over rows.
    """

    def __init__(self, model: "Model") -> None:
        self.model = model
        ranks = {name: x.ndim for name, x in model.params.items()}
        ranks |= {"tokens": 2, "document": 2, "dlogits": 3}
        by_row = Folding({"tokens": 0, "document": 0, "logits": 0}, frozenset(model.params))
        super().__init__(Axes(ranks, [] if model.layout.names_rows else [by_row], []))

    def _run(self, arrays: Arrays) -> tuple[Arrays, Saved]:
        model = self._with(arrays)
        logits, saved = model.forward(arrays["tokens"], document=arrays.get("document"))
        return {"logits": logits}, saved

    def _gradients(self, arrays: Arrays, saved: Saved) -> Arrays:
        return self._with(arrays).backward(saved, arrays["dlogits"])

    def _with(self, params: Mapping[str, Array]) -> "Model":
        """The model with other parameters."""
        other = copy(self.model)
        other.params = {name: params[name] for name in self.model.params}
        return other
