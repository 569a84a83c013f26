"""A memory as a PyTorch module, and as a step of a stream."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from mcore.arrays import check_names, infer_dims
from mcore.errors import InputError, ShapeError
from mcore.interop.host_memory import HostMemory
from mcore.interop.parameters import is_trained, parameter_names
from mcore.interop.state import State, empty, slots_needed
from mcore.interop.torch.function import Tensor, call, opaque

if TYPE_CHECKING:
    from mcore.memory_layer import Memory


class TorchMemory(torch.nn.Module):  # type: ignore[misc]
    """A memory for PyTorch: `y = layer(inputs)`, and `y, state = layer.step(inputs, state)`.

    Works with autograd and with `torch.func`: `grad`, `vmap`, and both in each other. `vmap` is one
    call, with more rows or, where a parameter (an input without T) is mapped or needs a gradient of
    its own, more heads; except in steps of the latter kind, and where cuts or lots look at heads.
    Second derivatives raise an InputError.

    Args:
        memory: the composition.
        parameters: starting values, tensors or arrays, of inputs without T that the module holds,
            so that they need not be given: `start_parameters(memory, H, K, V)` makes all. Those
            that mcore's own models do not train (the decay of `retention`) become buffers.

    Attributes:
        memory: the composition.
        inputs: name -> axes of what it needs, as `Memory.inputs`.

    Raises:
        InputError: `parameters` has a name that is not one of a parameter.
    """

    def __init__(self, memory: "Memory", parameters: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.memory, self.inputs = memory, memory.inputs
        self._host = HostMemory(memory)
        self._dtype = getattr(torch, memory.dtype)
        self._held = tuple(parameters or {})
        names = parameter_names(memory)
        for name, value in (parameters or {}).items():
            if name not in names:
                would_do = " or ".join(names) if names else "none: this composition has none"
                raise InputError(f"parameters: {name} is no parameter; {would_do} would do")
            tensor = torch.as_tensor(value).detach().clone().to(self._dtype)
            if is_trained(memory, name):
                self.register_parameter(name, torch.nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)

    @opaque  # type: ignore[untyped-decorator]
    def forward(self, inputs: Mapping[str, Any], *, document: Any = None) -> Tensor:
        """y (B, T, H, V) of one tensor for each entry of `inputs` that the module does not hold.

        Tensors of other dtypes or on other devices are converted and moved to the CPU, and y comes
        back on their device in the memory's dtype; each gets a gradient like itself. `document`
        is as in `Memory.forward`.

        Raises:
            ShapeError, InputError: as `Memory.forward`.
        """
        arrays, device = self._checked(inputs), _device(inputs)
        found = call(self._host, arrays | _ids(document), ("y",))
        return found["y"].to(device)

    @opaque  # type: ignore[untyped-decorator]
    def step(
        self, inputs: Mapping[str, Any], state: State, *, document: Any = None
    ) -> tuple[Tensor, State]:
        """y of the next tokens, any number, and the state to go on from.

        Gradients flow through the state; cut them with `detach` for truncated backpropagation.

        Raises:
            as `forward`, and InputError where the state has no room for another checkpoint.
        """
        if not isinstance(state, State):
            kind = type(state).__name__
            raise InputError(f"state: a {kind}; what start or step returned would do")
        arrays, device = self._checked(inputs), _device(inputs)
        self._check_state(state, arrays)
        arrays |= {f"state.{name}": x.cpu() for name, x in state._asdict().items()}
        names = [f"end.{name}" for name in State._fields]
        y, *end = call(self._host, arrays | _ids(document), ("y", *names)).values()
        return y.to(device), State(*end)

    def start(self, inputs: Mapping[str, Any], tokens: int | None = None) -> State:
        """The state before the first token, on the CPU.

        Args:
            inputs: of any piece of the stream, for their sizes.
            tokens: of the longest stream; not needed where the cache has a limit, or nothing to
                hold.

        Raises:
            SpecError: the segmentation cannot stream, or `tokens` is needed.
        """
        dims = self.memory.rule.dims(self._checked(inputs))
        packed = empty(self.memory, dims, slots_needed(self.memory, dims.B, tokens))
        return State(*(torch.from_numpy(x.copy()) for x in packed))

    def extra_repr(self) -> str:
        """The composition in words."""
        return self.memory.origin

    def _checked(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        held = {name: getattr(self, name) for name in self._held}
        given = {**held, **inputs} if isinstance(inputs, Mapping) else inputs
        check_names(given, self.inputs)
        arrays = {name: as_tensor(name, given[name], self._dtype) for name in self.inputs}
        infer_dims(arrays, self.inputs, self.memory.rule.fixed)
        return arrays

    def _check_state(self, state: State, arrays: Mapping[str, Tensor]) -> None:
        wanted = empty(self.memory, self.memory.rule.dims(arrays), state.checkpoints.shape[1])
        for name, ours, theirs in zip(State._fields, wanted, state, strict=True):
            if ours.shape != tuple(theirs.shape):
                raise ShapeError(
                    f"state.{name}: {tuple(theirs.shape)}, the inputs ask for {ours.shape}"
                )


def as_tensor(name: str, x: Any, dtype: Any) -> Tensor:
    """`x` as a tensor on the CPU in `dtype`, differentiably.

    Raises:
        InputError: it holds no real numbers.
    """
    try:
        tensor = torch.as_tensor(x).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name}: is not a tensor of numbers: {error}") from None
    if tensor.is_complex():
        raise InputError(f"{name}: holds {tensor.dtype}; real numbers would do")
    return tensor.to(dtype)


def as_integers(name: str, x: Any) -> Tensor:
    """`x` as a tensor of int64 on the CPU.

    Raises:
        InputError: other numbers.
    """
    tensor = torch.as_tensor(x)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool:
        raise InputError(f"{name}: {tensor.dtype}, expected integers")
    return tensor.to("cpu", torch.int64)


def _ids(document: Any) -> dict[str, Tensor]:
    return {} if document is None else {"document": as_integers("document", document)}


def _device(inputs: Mapping[str, Any]) -> Any:
    """Where the first tensor among the inputs is."""
    return next((x.device for x in inputs.values() if isinstance(x, torch.Tensor)), "cpu")
