"""Forward and backward of the host as `torch.autograd.Function`s, also under `torch.func`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mcore.arrays import Array
from mcore.errors import InputError
from mcore.interop.host import SECOND_DERIVATIVES, Host, Saved
from mcore.interop.mapped import Arrays

Tensor = Any


class _Call:
    """One call of a host.

    Attributes:
        host: what is called.
        names: of the tensors that go in.
        outputs: of those that come out.
    """

    def __init__(self, host: Host, names: Sequence[str], outputs: Sequence[str]) -> None:
        self.host, self.names, self.outputs = host, tuple(names), tuple(outputs)
        self._saved: Saved = None

    def forward(self, arrays: Arrays) -> Arrays:
        """Outputs; what backward needs is kept where no axis is mapped."""
        found, self._saved = self.host.forward_saved(arrays)
        return found

    def backward(self, arrays: Arrays) -> Arrays:
        """Gradients; what was kept serves once, so that it does not outlive its use."""
        saved, self._saved = self._saved, None
        return self.host.backward(arrays, saved)


opaque = torch.compiler.disable
"""What `torch.compile` must not look into: it would trace NumPy's functions as its own."""


def call(host: Host, arrays: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
    """The named outputs of the host's forward, differentiable once."""
    found = _Forward.apply(_Call(host, tuple(arrays), outputs), *arrays.values())
    return dict(zip(outputs, found, strict=True))


class _Forward(torch.autograd.Function):  # type: ignore[misc]
    """Outputs of a host, as tensors."""

    @staticmethod
    def forward(call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        arrays = dict(zip(call.names, map(_array, tensors), strict=True))
        found = call.forward(arrays)
        return tuple(_tensor(found[name], arrays) for name in call.outputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, ...]) -> None:
        ctx.call, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.mark_non_differentiable(*(x for x in output if not x.is_floating_point()))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        given = {
            _gradient(name): dx
            for name, dx in zip(ctx.call.outputs, gradients, strict=True)
            if dx.is_floating_point()
        }
        tensors = ctx.saved_tensors
        found = iter(_Backward.apply(ctx.call, tuple(given), *tensors, *given.values()))
        grads = (_summed(next(found), x) if x.is_floating_point() else None for x in tensors)
        return None, *grads

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> tuple[Any, Any]:
        found = _Forward.apply(arguments[0], *_mapped(in_dims[1:], arguments[1:]))
        return found, (0,) * len(found)


class _Backward(torch.autograd.Function):  # type: ignore[misc]
    """Gradients with respect to those of a call's tensors that hold floating-point numbers."""

    @staticmethod
    def forward(call: _Call, given: tuple[str, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        arrays = dict(zip((*call.names, *given), map(_array, tensors), strict=True))
        grads = call.backward(arrays)
        floats = [n for n, x in zip(call.names, tensors, strict=False) if x.is_floating_point()]
        return tuple(_tensor(grads[name], arrays) for name in floats)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: there is no second derivative."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise InputError(SECOND_DERIVATIVES)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> tuple[Any, Any]:
        found = _Backward.apply(*arguments[:2], *_mapped(in_dims[2:], arguments[2:]))
        return found, (0,) * len(found)


def _gradient(output: str) -> str:
    """What the host's backward calls the gradient of an output."""
    return output if output.startswith("end.") else f"d{output}"


def _mapped(in_dims: Any, tensors: Any) -> list[Tensor]:
    """The tensors with the mapped axis in front, of length 1 where none is."""
    return [
        x.unsqueeze(0) if place is None else x.movedim(place, 0)
        for place, x in zip(in_dims, tensors, strict=True)
    ]


def _array(x: Tensor) -> Array:
    array: Array = x.detach().resolve_neg().numpy()
    return array


def _tensor(x: Array, arrays: Arrays) -> Tensor:
    """A tensor that shares memory with `x`, but with nothing that came in."""
    shared = any(np.may_share_memory(x, other) for other in arrays.values())
    owned = x.copy() if shared or not x.flags.writeable else np.ascontiguousarray(x)
    return torch.from_numpy(owned)


def _summed(gradient: Tensor, like: Tensor) -> Tensor:
    """The gradient of a tensor whose mapped axes may be of length 1."""
    axes = tuple(i for i, size in enumerate(like.shape) if size == 1 != gradient.shape[i])
    return gradient.sum(dim=axes, keepdim=True) if axes else gradient
