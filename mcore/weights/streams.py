"""A stream through an RNN: tokens as they come, its state as a file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mcore.arrays import Array
from mcore.cache import MemoryState
from mcore.errors import SnapshotError
from mcore.weights.gates import Layer
from mcore.weights.inputs import check_tokens
from mcore.weights.states import RnnState

if TYPE_CHECKING:
    from mcore.weights.rnn import Rnn


class RnnStream:
    """One stream of B rows through an RNN, with the answers of `Rnn.step`.

    Attributes:
        rnn: whose weights it was made with.
    """

    def __init__(self, rnn: "Rnn", layers: Sequence[Layer], state: RnnState | None) -> None:
        self.rnn, self._layers = rnn, layers
        self._features, self._nothing = rnn.features, None if rnn.further else rnn.given(None)
        self.state = state

    def feed(self, x: object, *, further: Mapping[str, object] | None = None) -> Array:
        """h (B, T, V) of the next tokens x (B, T, C), any number of them.

        Raises:
            ShapeError, InputError, SpecError: as `Rnn.step`.
        """
        h = check_tokens(x, self._features, self.rnn.memory.dtype)
        given = self.rnn.given(further) if further or not self._nothing else self._nothing
        for n, (layer, memory) in enumerate(zip(self._layers, self._live, strict=True)):
            inputs, _ = given.inputs(n, layer, h)
            h = memory.feed(inputs)[:, :, 0]
        return h

    @property
    def state(self) -> RnnState | None:
        """Where the stream is; None before the first token."""
        states = [memory.state for memory in self._live]
        return tuple(state for state in states if state is not None) or None

    @state.setter
    def state(self, state: RnnState | None) -> None:
        self._live = [self.rnn.memory.stream(before) for before in self.rnn.before(state)]

    def save(self, path: str | Path) -> None:
        """Write the stream's state (not the weights) as one file, atomically.

        The stream goes on from what was written: to the bit as one that is restored from it.
        """
        self.state = state = self.state
        write_state(Path(path), _fingerprint(self.rnn), state_arrays(state))

    def restore(self, path: str | Path) -> None:
        """Go on from a saved state.

        Raises:
            SnapshotError: the file is damaged, or of a stream through another kind of RNN.
        """
        arrays = read_state(Path(path), _fingerprint(self.rnn))
        self.state = states_of(arrays, self.rnn.memory.origin)


def state_arrays(state: RnnState | None) -> dict[str, Array]:
    """The arrays of a state, by names such as `0.online`."""
    return {
        f"{n}.{name}": x
        for n, layer in enumerate(state or ())
        for name, x in vars(layer).items()
        if name != "origin"
    }


def states_of(arrays: Mapping[str, Array], origin: str) -> RnnState | None:
    """`state_arrays` backwards."""
    layers: dict[int, dict[str, Array]] = {}
    for name, x in arrays.items():
        n, _, field = name.partition(".")
        layers.setdefault(int(n), {})[field] = x
    states = [MemoryState(**layers[n], origin=origin) for n in sorted(layers)]
    return tuple(states) or None


def write_state(path: Path, fingerprint: str, arrays: Mapping[str, Array]) -> None:
    """Write a stream's state; raises SnapshotError when the disk does not take it."""
    from mcore.snapshot import Snapshot, write_snapshot

    write_snapshot(path, Snapshot(fingerprint, arrays))


def read_state(path: Path, fingerprint: str) -> dict[str, Array]:
    """Read it back; raises SnapshotError when it is damaged or of another kind of stream."""
    from mcore.snapshot import read_snapshot

    snapshot = read_snapshot(path)
    if snapshot.spec != fingerprint:
        raise SnapshotError(
            f"{path}: is not a stream through these weights, wrapped like this; restore it in a "
            "stream of the kind that it was saved from"
        )
    return dict(snapshot.params)


def _fingerprint(rnn: "Rnn") -> str:
    """Names and shapes of the weights, and the axes of the memory."""
    shapes = {name: list(x.shape) for name, x in rnn.params.items()}
    return json.dumps({"rnn": shapes, "memory": rnn.memory.origin}, sort_keys=True)
