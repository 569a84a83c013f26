"""Torch's names of an RNN's weights: which layers are there, and whether mcore has such an RNN.

`torch.nn.LSTM` and `GRU` call the arrays of layer n `weight_ih_l<n>`, `weight_hh_l<n>` and, with
biases, `bias_ih_l<n>`, `bias_hh_l<n>`; `LSTMCell` and `GRUCell` leave `_l<n>` out. A model puts a
prefix before them: `encoder.lstm.weight_ih_l0`.
"""

import re
from collections.abc import Iterable, Mapping

from mcore.arrays import Array
from mcore.errors import InputError, ShapeError

KINDS = {4: "lstm", 3: "gru"}
"""The rule, by the number of gates."""

FIRST = ("weight_ih_l0", "weight_ih")
"""The array that tells where an RNN is: of a layer, and of a cell."""

REFUSED = {
    "_reverse": "is of a bidirectional RNN, whose backward half reads later tokens; mcore is "
    "causal: one trained with bidirectional=False would do",
    "weight_hr": "projects h (proj_size), which mcore's lstm does not; one trained with "
    "proj_size=0 would do",
}
"""Parts of names that say what mcore has not, and why."""


def find_layers(names: Iterable[str], prefix: str) -> list[str]:
    """The suffix of each layer's names, first layer first: `["_l0", "_l1"]`; `[""]` of a cell.

    Raises:
        InputError: no RNN has this prefix; it is bidirectional or has projections; an array is
            missing.
    """
    names = set(names)
    own = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    own = {name for name in own if name.startswith(("weight_", "bias_"))}
    for part, why in REFUSED.items():
        for name in sorted(own):
            if part in name:
                raise InputError(f"{prefix}{name}: {why}")
    if not own.intersection(FIRST):
        raise InputError(f"{prefix}{FIRST[0]}: missing; {_elsewhere(names)}")
    suffixes = [""] if FIRST[1] in own else _numbered(prefix, own)
    biased = any(name.startswith("bias_") for name in own)
    for suffix in suffixes:
        for name in array_names(suffix, biased):
            if name not in own:
                raise InputError(f"{prefix}{name}: missing, while other arrays of the RNN are here")
    return suffixes


def array_names(suffix: str, biased: bool) -> list[str]:
    """The names of one layer's arrays, in torch's order."""
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [kind + suffix for kind in kinds[: 4 if biased else 2]]


def find_kind(params: Mapping[str, Array], suffixes: list[str]) -> str:
    """`lstm` or `gru`, by the shapes, which are checked.

    Raises:
        ShapeError: an array does not fit the others, or has the gates of no RNN that mcore has.
    """
    hidden = _matrix("weight_hh" + suffixes[0], params["weight_hh" + suffixes[0]])
    rows, width = hidden.shape
    if width == 0 or rows % width or rows // width not in KINDS:
        why = "is a plain tanh or relu RNN" if rows == width else "has the gates of neither"
        raise ShapeError(
            f"weight_hh{suffixes[0]}: shape {hidden.shape} {why}; an LSTM (4V, V) or a GRU (3V, V) "
            "would do"
        )
    for layer, suffix in enumerate(suffixes):
        into = _matrix("weight_ih" + suffix, params["weight_ih" + suffix]).shape[1]
        wanted = {
            "weight_ih": (rows, width if layer else into),
            "weight_hh": (rows, width),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
        }
        for name, shape in wanted.items():
            found = params.get(name + suffix)
            if found is not None and found.shape != shape:
                raise ShapeError(f"{name}{suffix}: shape {found.shape}, expected {shape}")
    return KINDS[rows // width]


def _matrix(name: str, x: Array) -> Array:
    if x.ndim != 2:
        raise ShapeError(f"{name}: shape {x.shape}, expected 2 axes")
    return x


def _numbered(prefix: str, own: set[str]) -> list[str]:
    """`_l0` up to the last layer; raises InputError where one is left out."""
    found = [re.fullmatch(r"(?:weight|bias)_(?:ih|hh)_l(0|[1-9][0-9]*)", name) for name in own]
    numbers = sorted({int(match[1]) for match in found if match})
    for n, number in enumerate(numbers):
        if n != number:
            raise InputError(f"{prefix}weight_ih_l{n}: missing, while layer {number} is here")
    return [f"_l{n}" for n in numbers]


def _elsewhere(names: set[str]) -> str:
    """Where an RNN's weights are instead."""
    prefixes = sorted(
        {name[: -len(first)] for name in names for first in FIRST if name.endswith(first)}
    )
    if not prefixes:
        return "no array here has the name of an LSTM's or a GRU's weights"
    return "prefix=" + " or ".join(repr(prefix) for prefix in prefixes) + " would do"
