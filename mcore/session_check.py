"""Whether a file can be the state of a stream through a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from mcore.arrays import Array
from mcore.errors import SnapshotError
from mcore.model.carried import check_carried
from mcore.model.part import State

if TYPE_CHECKING:
    from mcore.model import Model


_AFTER_A_TOKEN: "WeakKeyDictionary[Model, State]" = WeakKeyDictionary()
"""What a stream through a model carries: the same for every one of a pool's thousands of files."""


def check_stream(path: str | Path, model: "Model", state: Mapping[str, Array]) -> None:
    """Hold a state to that of a stream which has seen one token.

    Raises: SnapshotError when no stream through the model carries that.
    """
    if model not in _AFTER_A_TOKEN:
        probe, channels = model.session(), model.channels
        probe.feed(np.zeros(1, np.int64) if channels is None else np.zeros((1, channels)))
        _AFTER_A_TOKEN[model] = probe.state
    try:
        check_carried(state, _AFTER_A_TOKEN[model])
    except SnapshotError as error:
        raise SnapshotError(f"{path}: is not the state of a stream: {error}") from None
