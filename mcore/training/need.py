"""What a batch needs at least, held against what the machine has, before any of it is made."""

import numpy as np

from mcore.errors import Problem, SpecError
from mcore.layers.product import number_type, real_of
from mcore.machine import beyond
from mcore.spec.schema import Spec

_TOKEN_BYTES = 16
"""A token and its label, 8 bytes each."""

_COPIES = 4
"""Arrays as large as the parameters in training: these, their gradients, and AdamW's two."""


def check_batch(spec: Spec) -> None:
    """Raise SpecError when the rows of a batch alone are more than the machine has memory for.

    Counted are tokens, labels, what each block is given, and what a readout chooses: less than what
    it takes.
    """
    model, itemsize = spec.model, np.dtype(number_type(spec.dtype)).itemsize
    length = spec.train.truncate or spec.data.length
    token = _TOKEN_BYTES + itemsize * model.width * model.depth + _chosen_bytes(spec)
    too_much = beyond(spec.train.batch * max(length * token, spec.data.length * _TOKEN_BYTES))
    if too_much:
        rows = f"{spec.train.batch:,} rows of {spec.data.length:,} tokens"
        smaller = "a smaller train.batch, data.length, train.truncate or model.width would do"
        raise SpecError([Problem("", "data.length", f"{rows} take {too_much}; {smaller}")])


def _chosen_bytes(spec: Spec) -> int:
    """Bytes for the checkpoints that a token chooses, their gates and their numbers."""
    chosen = [axes.readout.top_k for axes in spec.memories() if axes and axes.readout.kind == "ssc"]
    return 8 * spec.model.heads * max(chosen, default=0)


def check_parameters(numbers: int, dtype: str, device: int | None = None) -> None:
    """Raise SpecError when so many parameters fit into memory, but cannot be trained there.

    `device` are the bytes of the device that they are trained on, if any.
    """
    if too_much := beyond(_COPIES * numbers * np.dtype(real_of(dtype)).itemsize, device):
        smaller = "a smaller model.width, model.depth or data.vocab would do"
        message = f"to train {numbers:,} parameters takes {too_much}; {smaller}"
        raise SpecError([Problem("", "model", message)])
