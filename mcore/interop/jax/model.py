"""A whole model as a JAX function of its parameters and tokens."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from mcore.errors import InputError, ShapeError
from mcore.interop.host_model import HostModel
from mcore.interop.jax.callback import OnHost, Traced, called, is_traced, like
from mcore.interop.jax.traced import as_integers, as_traced, check_dtype

if TYPE_CHECKING:
    from mcore.model import Model


class JaxModel:
    """A model for JAX: `logits = model(params, tokens)`, with gradients of the parameters.

    Works under `jit`, `grad`, `vmap`, `lax.scan` and `remat`; backward runs the forward again.

    Attributes:
        model: what was compiled or loaded; its own parameters are only where one may start.
        dtype: of parameters and logits.

    Raises:
        InputError: a float64 model, and JAX is set up for 32 bits.
    """

    def __init__(self, model: "Model") -> None:
        self.model = model
        self.dtype = next(iter(model.params.values())).dtype.name
        check_dtype(self.dtype)
        self._host = HostModel(model)
        self._call = jax.custom_vjp(self._forward)
        self._call.defvjp(self._forward_saved, self._backward)

    @property
    def params(self) -> dict[str, Traced]:
        """The model's parameters as JAX arrays: name -> array, a copy."""
        return {name: jnp.array(x) for name, x in self.model.params.items()}

    def __call__(self, params: Mapping[str, Any], tokens: Any, *, document: Any = None) -> Traced:
        """Logits (B, T, vocab) of tokens (B, T).

        `document` is as in `Model.forward`.

        Raises:
            InputError, ShapeError: parameters are missing, unknown or of other shapes; tokens are
                not integers (B, T).
        """
        ids = None if document is None else as_integers("document", document)
        arrays = _arrays(self._checked(params), as_integers("tokens", tokens), ids)
        if is_traced(arrays):
            names = self.model.params
            return self._call({n: arrays[n] for n in names}, arrays["tokens"], ids)
        return jnp.asarray(OnHost(self._host.forward)(arrays)["logits"])

    def _checked(self, params: Mapping[str, Any]) -> dict[str, Traced]:
        wanted = self.model.params
        if not isinstance(params, Mapping) or params.keys() != wanted.keys():
            raise InputError(
                "params: not the names of this model's parameters; a dict like `params` would do"
            )
        found = {name: as_traced(f"params: {name}", params[name], self.dtype) for name in wanted}
        for name, x in found.items():
            if x.shape != wanted[name].shape:
                raise ShapeError(
                    f"params: {name}: shape {x.shape}, this model's is {wanted[name].shape}"
                )
        return found

    def _forward(self, params: dict[str, Traced], tokens: Traced, document: Traced) -> Traced:
        shape = (*tokens.shape, self.model.vocab)
        out = {"logits": jax.ShapeDtypeStruct(shape, self.dtype)}
        return called(self._host.forward, out, _arrays(params, tokens, document))["logits"]

    def _forward_saved(
        self, params: dict[str, Traced], tokens: Traced, document: Traced
    ) -> tuple[Traced, Any]:
        return self._forward(params, tokens, document), (params, tokens, document)

    def _backward(self, kept: Any, dlogits: Traced) -> tuple[dict[str, Traced], None, None]:
        params, tokens, document = kept
        arrays = _arrays(params, tokens, document) | {"dlogits": dlogits}
        out = {name: like(x) for name, x in params.items()}
        return called(self._host.backward, out, arrays), None, None


def _arrays(params: dict[str, Traced], tokens: Traced, document: Traced) -> dict[str, Traced]:
    given = {} if document is None else {"document": document}
    return params | {"tokens": tokens} | given
