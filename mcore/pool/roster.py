"""Where each stream of a pool is: in memory, on disk, or broken off in the middle of a feed."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mcore.arrays import Array
from mcore.errors import InputError
from mcore.model.part import State
from mcore.pool.batch import Batch
from mcore.pool.folder import Folder, Id

if TYPE_CHECKING:
    from mcore.model import Model


class Roster:
    """The streams of a pool by name. Each is in one place.

    Attributes:
        batch: those in memory.
        slots: their places in it, the last fed at the end.
        away: names of those on disk.
        broken: names of those that cannot go on.
        limit: the most in memory; None for any number.
    """

    def __init__(self, model: "Model", limit: int | None, folder: Path | None) -> None:
        self.limit, self._disk = limit, None if folder is None else Folder(folder, model)
        self.batch, self.slots = Batch(model), OrderedDict[Id, int]()
        self.away, self.broken = set[Id](self._disk or ()), set[Id]()

    def __contains__(self, name: Id) -> bool:
        return name in self.slots or name in self.away or name in self.broken

    def names(self) -> list[Id]:
        """Of all streams, those in memory last."""
        return [*sorted(self.away | self.broken, key=str), *self.slots]

    def check(self, names: Iterable[Id]) -> None:
        """Raise InputError unless all of them are there and can go on."""
        for name in names:
            if name in self.broken:
                raise InputError(
                    f"stream {name!r}: a feed of it was interrupted; restore or remove it"
                )
            if name not in self.slots and name not in self.away:
                raise InputError(missing(name))

    def bring(self, names: Sequence[Id]) -> Array:
        """Have streams in memory, as many as fit, as the last that were fed; their slots (n,)."""
        for name in names:
            if name in self.slots:
                self.slots.move_to_end(name)
        for name in names:
            if name not in self.slots:
                self.enter(name, self.state(name))
        return np.array([self.slots[name] for name in names])

    def state(self, name: Id) -> State:
        """What a stream carries; a copy."""
        if name in self.slots:
            return self.batch.take(self.slots[name])
        assert self._disk is not None
        return self._disk.read(name)

    def enter(self, name: Id, state: State) -> None:
        """Have a new stream in memory, or one that was away; another makes room."""
        if not isinstance(name, str | int):
            raise InputError(f"stream {name!r}: text or a whole number would do as a name")
        if self.limit is not None and len(self.slots) >= self.limit:
            self.evict(next(iter(self.slots)))
        self.slots[name] = self.batch.begin(state)
        self.away.discard(name)

    def leave(self, name: Id) -> None:
        """Be without a stream, wherever it is; its file stays."""
        self.broken.discard(name)
        self.away.discard(name)
        if name in self.slots:
            self.batch.end(self.slots.pop(name))

    def forget(self, name: Id) -> None:
        """Be without a stream and its file."""
        self.leave(name)
        if self._disk is not None:
            self._disk.forget(name)

    def evict(self, name: Id) -> None:
        """Have a stream on disk."""
        if name in self.slots:
            self.write(name)
            self.leave(name)
            self.away.add(name)

    def write(self, name: Id) -> None:
        """Write a stream that is in memory."""
        if self._disk is None:
            raise InputError("folder: this pool has none to write streams to; give it one")
        self._disk.write(name, self.state(name))

    def give_up(self, names: Iterable[Id]) -> None:
        """Streams whose memories are not in step any more."""
        for name in names:
            self.leave(name)
            self.broken.add(name)


def missing(name: Id) -> str:
    """What is wrong with a name."""
    return f"stream {name!r}: is not there; add it first"
