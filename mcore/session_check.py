"""Whether a file can be the state of a stream through a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mcore.arrays import Array
from mcore.errors import SnapshotError
from mcore.model.carried import check_carried

if TYPE_CHECKING:
    from mcore.model import Model


def check_stream(path: str | Path, model: "Model", state: Mapping[str, Array]) -> None:
    """Hold a state to that of a stream which has seen one token.

    Raises: SnapshotError when no stream through the model carries that.
    """
    channels = model.channels
    probe = model.session()
    probe.feed(np.zeros(1, np.int64) if channels is None else np.zeros((1, channels)))
    try:
        check_carried(state, probe.state)
    except SnapshotError as error:
        raise SnapshotError(f"{path}: is not the state of a stream: {error}") from None
