"""A memory as a JAX function with mcore's own gradients, and as a step of a scan."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from mcore.errors import InputError, ShapeError
from mcore.interop.host_memory import HostMemory
from mcore.interop.jax.callback import OnHost, Traced, called, is_traced, like
from mcore.interop.jax.traced import as_inputs, as_integers, check_dtype
from mcore.interop.state import FLOATS, State, empty, slots_needed

if TYPE_CHECKING:
    from mcore.memory_layer import Memory
    from mcore.recurrence import Dims

Answer = tuple[Traced, State | None]


class JaxMemory:
    """A memory for JAX: `y = layer(inputs)`, and `y, state = layer.step(inputs, state)`.

    Both work under `jit`, `grad`, `vmap`, `lax.scan` and `remat`. `vmap` is one call, with more
    rows or, where a parameter (an input without T) is mapped or needs a gradient of its own, more
    heads; except in steps of the latter kind, and where cuts or lots look at heads: there it is a
    call for each place. Backward runs the forward again; nothing is kept on the host between.

    Attributes:
        memory: the composition.
        inputs: name -> axes of what it needs, as `Memory.inputs`.

    Raises:
        InputError: a float64 memory, and JAX is set up for 32 bits.
    """

    def __init__(self, memory: "Memory") -> None:
        check_dtype(memory.dtype)
        self.memory, self.inputs = memory, memory.inputs
        self._host = HostMemory(memory)
        self._call = jax.custom_vjp(self._forward)
        self._call.defvjp(self._forward_saved, self._backward)

    def __call__(self, inputs: Mapping[str, Any], *, document: Any = None) -> Traced:
        """y (B, T, H, V) in the memory's dtype, of one array for each entry of `inputs`.

        Arrays of other dtypes, bfloat16 among them, are converted, and get gradients of their own
        dtype. `document` is as in `Memory.forward`.

        Raises:
            ShapeError, InputError: names or shapes differ from the declared ones.
            jax.errors.JaxRuntimeError: within a transformation, what can only be seen in the
                numbers, such as a `log_decay` that is not finite; it holds mcore's message.
        """
        return self._answer(self._checked(inputs), None, _ids(document))[0]

    def step(
        self, inputs: Mapping[str, Any], state: State, *, document: Any = None
    ) -> tuple[Traced, State]:
        """y of the next tokens, any number, and the state to go on from, of the same shapes.

        Gradients flow through the state: a scan over pieces is one long sequence.

        Raises:
            as `__call__`; in the numbers, that the state has no room for another checkpoint.
        """
        if not isinstance(state, State):
            kind = type(state).__name__
            raise InputError(f"state: a {kind}; what start or step returned would do")
        arrays = self._checked(inputs)
        self._check_state(state, arrays)
        y, end = self._answer(arrays, state, _ids(document))
        assert end is not None
        return y, end

    def start(self, inputs: Mapping[str, Any], tokens: int | None = None) -> State:
        """The state before the first token.

        Args:
            inputs: of any piece of the stream, for their sizes.
            tokens: of the longest stream; not needed where the cache has a limit, or nothing to
                hold.

        Raises:
            SpecError: the segmentation cannot stream, or `tokens` is needed.
        """
        dims = self._dims(self._checked(inputs))
        packed = empty(self.memory, dims, slots_needed(self.memory, dims.B, tokens))
        return State(*map(jnp.asarray, packed))

    def _answer(self, inputs: dict[str, Traced], state: State | None, document: Traced) -> Answer:
        """With numbers at hand the host is called as it is, and its errors arrive as they are."""
        arrays = _arrays(inputs, state, document)
        if is_traced(arrays):
            answer: Answer = self._call(inputs, state, document)
            return answer
        host = OnHost(self._host.forward)(arrays)
        found = {name: jnp.asarray(x) for name, x in host.items()}
        return found["y"], _state(found)

    def _checked(self, inputs: Mapping[str, Any]) -> dict[str, Traced]:
        return as_inputs(inputs, self.inputs, self.memory.rule.fixed, self.memory.dtype)

    def _dims(self, arrays: Mapping[str, Traced]) -> "Dims":
        return self.memory.rule.dims(arrays)

    def _check_state(self, state: State, arrays: Mapping[str, Traced]) -> None:
        wanted = empty(self.memory, self._dims(arrays), state.checkpoints.shape[1])
        for name, ours, theirs in zip(State._fields, wanted, state, strict=True):
            if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
                raise ShapeError(
                    f"state.{name}: {theirs.dtype} {theirs.shape}, the inputs ask for "
                    f"{ours.dtype} {ours.shape}"
                )

    def _forward(self, inputs: dict[str, Traced], state: State | None, document: Traced) -> Answer:
        B, T, H, _, V, _ = self._dims(inputs)
        out = {"y": jax.ShapeDtypeStruct((B, T, H, V), self.memory.dtype)}
        out |= _named("end", jax.tree.map(like, state))
        found = called(self._host.forward, out, _arrays(inputs, state, document))
        return found["y"], _state(found)

    def _forward_saved(
        self, inputs: dict[str, Traced], state: State | None, document: Traced
    ) -> tuple[Answer, Any]:
        return self._forward(inputs, state, document), (inputs, state, document)

    def _backward(self, kept: Any, gradient: Answer) -> tuple[dict[str, Traced], Any, None]:
        inputs, state, document = kept
        dy, d_end = gradient
        arrays = _arrays(inputs, state, document) | {"dy": dy} | _floats("end", d_end)
        names = [*inputs, *_floats("state", state)]
        grads = called(self._host.backward, {name: like(arrays[name]) for name in names}, arrays)
        d_inputs = {name: grads[name] for name in inputs}
        return d_inputs, None if state is None else _d_state(grads), None


def _ids(document: Any) -> Traced:
    return None if document is None else as_integers("document", document)


def _arrays(inputs: dict[str, Traced], state: State | None, document: Traced) -> dict[str, Traced]:
    given = {} if document is None else {"document": document}
    return inputs | _named("state", state) | given


def _named(part: str, state: State | None) -> dict[str, Traced]:
    return {} if state is None else {f"{part}.{n}": x for n, x in state._asdict().items()}


def _floats(part: str, state: State | None) -> dict[str, Traced]:
    return {} if state is None else {f"{part}.{name}": getattr(state, name) for name in FLOATS}


def _state(found: Mapping[str, Traced]) -> State | None:
    if "end.online" not in found:
        return None
    return State(*(found[f"end.{name}"] for name in State._fields))


def _d_state(grads: Mapping[str, Traced]) -> State:
    """Integers have no gradient, which JAX takes as None."""
    return State(*(grads.get(f"state.{name}") for name in State._fields))
