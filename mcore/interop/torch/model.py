"""A whole model as a PyTorch module."""

from typing import TYPE_CHECKING, Any

import torch

from mcore.interop.host_model import HostModel
from mcore.interop.torch.function import Tensor, call, opaque
from mcore.interop.torch.memory import as_integers

if TYPE_CHECKING:
    from mcore.model import Model


class TorchModel(torch.nn.Module):  # type: ignore[misc]
    """A model for PyTorch: `logits = model(tokens)`, trained by any of its optimizers.

    Its parameters are those of the model, copied, under the same names with `/` for `.`;
    `write_back` puts what was trained into the model, which then saves and streams it.

    Attributes:
        model: what was compiled or loaded.
    """

    def __init__(self, model: "Model") -> None:
        super().__init__()
        self.model = model
        self._host = HostModel(model)
        for name, x in model.params.items():
            self.register_parameter(_slashed(name), torch.nn.Parameter(torch.from_numpy(x.copy())))

    @opaque  # type: ignore[untyped-decorator]
    def forward(self, tokens: Any, *, document: Any = None) -> Tensor:
        """Logits (B, T, vocab) of tokens (B, T); `document` as in `Model.forward`.

        Raises:
            InputError, ShapeError: tokens are not integers (B, T).
        """
        tokens = torch.as_tensor(tokens)
        arrays = {name: getattr(self, _slashed(name)).cpu() for name in self.model.params}
        arrays["tokens"] = as_integers("tokens", tokens)
        if document is not None:
            arrays["document"] = as_integers("document", document)
        return call(self._host, arrays, ("logits",))["logits"].to(tokens.device)

    def write_back(self) -> None:
        """Copy the parameters into `model.params`."""
        for name, x in self.model.params.items():
            x[...] = getattr(self, _slashed(name)).detach().cpu().numpy()


def _slashed(name: str) -> str:
    """PyTorch's names hold no dots."""
    return name.replace(".", "/")
