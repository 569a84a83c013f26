"""An RNN from torch's weights, and back."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mcore.arrays import Array, as_array
from mcore.backend import Backend
from mcore.compose import memory
from mcore.errors import InputError
from mcore.snapshot import write_whole
from mcore.weights.files import Source, read_arrays, serialise
from mcore.weights.names import array_names, find_kind, find_layers
from mcore.weights.rnn import Rnn


def load_rnn(
    source: Source,
    prefix: str = "",
    *,
    backend: str | Backend = "numba",
    dtype: str = "float32",
) -> Rnn:
    """The LSTM or GRU whose weights have torch's names.

    Args:
        source: a safetensors file, or arrays by name: a `state_dict()` of `torch.nn.LSTM`, `GRU`,
            `LSTMCell` or `GRUCell`, or of a model that has one.
        prefix: what stands before the names, as in `"encoder.lstm."`.
        backend, dtype: as in `mcore.memory`; weights are converted to dtype, and copied.

    Raises:
        SnapshotError: the file is missing, cut short, or not a safetensors file.
        InputError: no RNN has this prefix; an array is missing or not finite; the RNN is
            bidirectional (not causal) or has projections.
        ShapeError: arrays that do not fit each other.
    """
    arrays = read_arrays(source)
    layers = find_layers(arrays, prefix)
    biased = prefix + array_names(layers[0], True)[2] in arrays
    names = [name for suffix in layers for name in array_names(suffix, biased)]
    params = {name: _own(prefix + name, arrays[prefix + name], dtype) for name in names}
    return Rnn(memory(find_kind(params, layers), backend=backend, dtype=dtype), params, layers)


def save_rnn(
    path: str | Path, rnn: Rnn, prefix: str = "", others: Mapping[str, Array] | None = None
) -> None:
    """Write the weights under torch's names, with `prefix` before them, as a safetensors file.

    Args:
        path: of the file, which is written whole or not at all.
        rnn: whose `params` are written, in torch's layout: torch's `load_state_dict` takes them.
        prefix: as in `load_rnn`.
        others: further arrays for the file, such as those of a model's other layers.

    Raises:
        SnapshotError: the disk does not take it.
    """
    own = {prefix + name: x for name, x in rnn.params.items()}
    write_whole(Path(path), serialise({**(others or {}), **own}))


def _own(name: str, x: object, dtype: str) -> Array:
    """A copy in `dtype`."""
    array = np.array(as_array(name, x, dtype, np))
    if not np.isfinite(array).all():
        raise InputError(f"{name}: has NaN or infinity; weights that are finite would do")
    return array
