"""A look at one array of a network: is it finite, and if not, how to say where it is not."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mcore.arrays import Array
from mcore.model.attention_mixer import AttentionMixer
from mcore.model.memory_mixer import MemoryMixer
from mcore.model.parallel import Parallel
from mcore.model.part import Params, Part, scoped
from mcore.placing import to_host


@dataclass(frozen=True)
class Look:
    """An array and what it is.

    Attributes:
        place: the part it belongs to, with the rule.
        what: the array in words.
        array: the array.
        tokens: whether its first axes are rows, tokens and, with a fourth, heads.
        backward: the same for a gradient, in which trouble spreads from later tokens to earlier.
        row: what is row 0 of the array, in the batch.
        note: what else is known when this array is the first that is not finite.
    """

    place: str
    what: str
    array: Array
    tokens: bool = False
    backward: bool = False
    row: int = 0
    note: str = ""

    @property
    def finite(self) -> bool:
        """Whether every entry is."""
        return bool(np.isfinite(to_host(self.array)).all())

    def sentence(self) -> str:
        """`blocks.1.mixer (memory delta): the recurrence's answer is inf at row 0, token 7`."""
        array = to_host(self.array)
        bad = ~np.isfinite(array)
        where = self._token(bad) if self.tokens or self.backward else tuple(np.argwhere(bad)[0])
        words = f"{self.place}: {self.what} is {array[where]}"
        if self.tokens or self.backward:
            names = ("row", "token", "head") if bad.ndim == 4 else ("row", "token")
            places = (self.row + where[0], *where[1:])
            words += " at " + ", ".join(f"{n} {i}" for n, i in zip(names, places, strict=False))
        return words + (f" ({self.note})" if self.note else "")

    def _token(self, bad: Array) -> tuple[int, ...]:
        """The first bad entry of the first bad row; of a gradient, in its last bad token."""
        row = int(np.argmax(bad.any(axis=tuple(range(1, bad.ndim)))))
        hit = bad[row].any(axis=tuple(range(1, bad.ndim - 1)))
        token = int(np.flatnonzero(hit)[-1 if self.backward else 0])
        return (row, token, *(int(i) for i in np.argwhere(bad[row, token])[0]))


def title(part: Part) -> str:
    """What a part is: `memory gated_delta`, `attention`, `mlp`, `parallel`."""
    if isinstance(part, MemoryMixer):
        return f"memory {part.memory.rule.kind}"
    return {AttentionMixer: "attention", Parallel: "parallel"}.get(type(part), "mlp")


def stages(name: str, part: Part, params: Params, x: Array) -> Iterator[Look]:
    """What a part computes inside, in order; x (B, T, D) is its normed input."""
    if isinstance(part, Parallel):
        for inner, each in part.parts.items():
            yield from stages(f"{name}.{inner}", each, scoped(params, inner), x)
        return
    if not isinstance(part, MemoryMixer | AttentionMixer):
        return
    place = f"{name} ({title(part)})"
    inputs, _ = part.projection.forward(params, x, {})
    for made, value in inputs.items():
        each_token = made not in part.projection.parameters
        yield Look(place, f"the input {made}", value, tokens=each_token)
    if isinstance(part, MemoryMixer):
        yield from _remembered(place, part, inputs)


def _remembered(place: str, mixer: MemoryMixer, inputs: dict[str, Array]) -> Iterator[Look]:
    """The online reads, then what the readout makes of them."""
    declared = {name: inputs[name] for name in mixer.memory.inputs}
    y, saved = mixer.memory.forward(declared)
    sizes = {name: float(np.abs(to_host(value)).max()) for name, value in declared.items()}
    largest = max(sizes, key=lambda name: sizes[name])
    note = f"its inputs are finite; the largest is {largest}, {sizes[largest]:.1e}"
    yield Look(place, "the recurrence's answer", saved.reads, tokens=True, note=note)
    kind = mixer.memory.readout.kind
    yield Look(place, f"the answer of the readout {kind}", y, tokens=True, note=note)
