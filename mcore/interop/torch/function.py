"""Forward and backward of the host as `torch.autograd.Function`s, also under `torch.func`."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from mcore.arrays import Array
from mcore.errors import InputError
from mcore.interop.mapped import Arrays

Tensor = Any


class Host(Protocol):
    """What is called: `mcore.interop.host`."""

    def forward(self, arrays: Arrays) -> Arrays:
        """Outputs by name."""
        ...

    def backward(self, arrays: Arrays) -> Arrays:
        """Gradients by name."""
        ...


def call(host: Host, arrays: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
    """The named outputs of the host's forward, differentiable once."""
    names = tuple(arrays)
    found = _Forward.apply(host, names, tuple(outputs), *arrays.values())
    return dict(zip(outputs, found, strict=True))


class _Forward(torch.autograd.Function):  # type: ignore[misc]
    """Outputs of a host, as tensors."""

    @staticmethod
    def forward(
        host: Host, names: tuple[str, ...], outputs: tuple[str, ...], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        arrays = dict(zip(names, map(_array, tensors), strict=True))
        found = host.forward(arrays)
        return tuple(_tensor(found[name], arrays) for name in outputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, ...]) -> None:
        ctx.host, ctx.names, ctx.outputs, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.mark_non_differentiable(*(x for x in output if not x.is_floating_point()))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        given = {
            _gradient(name): dx
            for name, dx in zip(ctx.outputs, gradients, strict=True)
            if dx.is_floating_point()
        }
        tensors = ctx.saved_tensors
        wanted = tuple(x.is_floating_point() for x in tensors)
        names = (*ctx.names, *given)
        found = iter(_Backward.apply(ctx.host, names, wanted, *tensors, *given.values()))
        grads = (_summed(next(found), x) if x.is_floating_point() else None for x in tensors)
        return None, None, None, *grads

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> tuple[Any, Any]:
        found = _Forward.apply(*_mapped(in_dims, arguments))
        return found, (0,) * len(found)


class _Backward(torch.autograd.Function):  # type: ignore[misc]
    """Gradients of a host with respect to the first tensors, those that are wanted."""

    @staticmethod
    def forward(
        host: Host, names: tuple[str, ...], wanted: tuple[bool, ...], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        arrays = dict(zip(names, map(_array, tensors), strict=True))
        grads = host.backward(arrays)
        return tuple(
            _tensor(grads[name], arrays)
            for name, is_wanted in zip(names, wanted, strict=False)
            if is_wanted
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: there is no second derivative."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise InputError(
            "second derivatives: mcore's gradients are written by hand, and those of gradients are "
            "not; create_graph=False, or a PyTorch implementation of the layer, would do"
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> tuple[Any, Any]:
        found = _Backward.apply(*_mapped(in_dims, arguments))
        return found, (0,) * len(found)


def _gradient(output: str) -> str:
    """What the host's backward calls the gradient of an output."""
    return output if output.startswith("end.") else f"d{output}"


def _mapped(in_dims: Any, arguments: Any) -> tuple[Any, ...]:
    """The arguments with the mapped axis of every tensor in front, of length 1 where none is."""
    moved = [
        x.unsqueeze(0) if place is None else x.movedim(place, 0)
        for place, x in zip(in_dims[3:], arguments[3:], strict=True)
    ]
    return (*arguments[:3], *moved)


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
