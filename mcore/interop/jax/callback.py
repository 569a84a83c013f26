"""A function of the host's arrays, called out of a traced program."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from mcore.dlpack import writable
from mcore.errors import InputError
from mcore.interop.host import SECOND_DERIVATIVES
from mcore.interop.mapped import Arrays, Function

Traced = Any
"""A `jax.Array` or what stands for one while a function is traced."""


@dataclass(frozen=True)
class OnHost:
    """A function of NumPy arrays that takes what JAX hands over; equal if the function is.

    Arrays lie where they lay; a mapped axis comes as one more axis in front.
    """

    function: Function

    def __call__(self, arrays: Mapping[str, Any]) -> Arrays:
        """The function of the same arrays."""
        return self.function({name: writable(np.asarray(x)) for name, x in arrays.items()})


def called(
    function: Function, out: Mapping[str, jax.ShapeDtypeStruct], arrays: Mapping[str, Traced]
) -> dict[str, Traced]:
    """`function` of the arrays, as part of a program; `out` says what it returns.

    Raises:
        InputError: it is differentiated, which only a derivative of a derivative does.
    """

    def run(arrays: dict[str, Traced]) -> Any:
        return jax.pure_callback(OnHost(function), out, arrays, vmap_method="expand_dims")

    call = jax.custom_jvp(run)
    call.defjvp(_refuse)
    found: dict[str, Traced] = call(dict(arrays))
    return found


def _refuse(primals: Any, tangents: Any) -> Any:
    raise InputError(SECOND_DERIVATIVES)


def is_traced(arrays: Mapping[str, Traced]) -> bool:
    """Whether some of the arrays hold no numbers yet."""
    return any(isinstance(x, jax.core.Tracer) for x in arrays.values())


def like(x: Traced) -> jax.ShapeDtypeStruct:
    """Shape and dtype."""
    return jax.ShapeDtypeStruct(x.shape, x.dtype)
