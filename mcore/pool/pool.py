"""Streams by name, advanced together; those that were not fed for long wait on disk."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from mcore.arrays import Array, namespace
from mcore.errors import InputError
from mcore.model.part import State
from mcore.pool.folder import Id
from mcore.pool.inputs import checked
from mcore.pool.ragged import rectangles
from mcore.pool.roster import Roster, missing
from mcore.session_file import read_stream, write_stream

if TYPE_CHECKING:
    from mcore.model import Model

Name = TypeVar("Name", bound=Id)


class SessionPool:
    """Many independent streams through one model: each gives what a `Session` of its own gives.

    Streams are at different positions, and come and go; a feed advances all that it names in as
    few calls of the model as their lengths allow. All methods may be called from several threads.
    A feed that is interrupted from outside leaves its streams unusable: `restore` or `remove` them.

    Attributes:
        model: whose parameters are used.
        limit: the most streams in memory; None for any number. Beyond it, those that were not fed
            for longest are written to `folder`, and brought back when they are fed again.
        folder: where evicted streams are kept, one file each; None if none can be evicted. Streams
            whose files are there already belong to the pool.

    Raises:
        SpecError: the segmentation lists cuts row by row, or depends on the total length.
        InputError: a limit below 1, or one without a folder.
    """

    def __init__(
        self, model: "Model", limit: int | None = None, folder: str | Path | None = None
    ) -> None:
        if limit is not None and limit < 1:
            raise InputError(f"limit: {limit} is too small; 1 or more would do")
        if limit is not None and folder is None:
            raise InputError(f"limit: {limit} needs a folder to evict to")
        self.model, self.limit = model, limit
        self.folder = None if folder is None else Path(folder)
        self._lock, self._roster = RLock(), Roster(model, limit, self.folder)

    def __len__(self) -> int:
        """Number of streams, in memory and on disk."""
        with self._lock:
            return len(self._roster.names())

    def __contains__(self, name: Id) -> bool:
        """Whether there is such a stream."""
        with self._lock:
            return name in self._roster

    def __iter__(self) -> Iterator[Id]:
        """Ids of all streams: those in memory, the last fed at the end, come last."""
        with self._lock:
            return iter(self._roster.names())

    @property
    def resident(self) -> list[Id]:
        """Ids of the streams in memory, the last fed at the end."""
        with self._lock:
            return list(self._roster.slots)

    def add(self, name: Id) -> None:
        """A stream that has not begun.

        Raises:
            InputError: there is one of that name, or the name is neither text nor a whole number.
        """
        with self._lock:
            if name in self._roster:
                raise InputError(f"stream {name!r}: is there already; another name would do")
            self._roster.enter(name, {})

    def remove(self, name: Id) -> None:
        """Forget a stream, and delete its file in the folder.

        Raises:
            InputError: there is no such stream.
        """
        with self._lock:
            if name not in self._roster:
                raise InputError(missing(name))
            self._roster.forget(name)

    def feed(self, feeds: Mapping[Name, object]) -> dict[Name, Array]:
        """The model's answers to what comes next in some streams, by their ids.

        Shapes: tokens (T,) -> (T, vocab), with a T for each stream; of a model with C real-valued
            channels (T, C) -> (T, .).

        Raises:
            InputError: a stream that is not there or was interrupted, tokens that the model does
                not know, infinite numbers. No stream has changed then.
            ShapeError: T = 0, or another number of axes or channels; likewise.
            SnapshotError: an evicted stream's file cannot be read.
        """
        with self._lock:
            self._roster.check(feeds)
            arrays, names = checked(self.model, feeds), list(feeds)
            most, answers = self.limit or max(len(names), 1), list[Array]()
            for begin in range(0, len(names), most):
                part = slice(begin, begin + most)
                answers += self._advance(names[part], arrays[part])
            return dict(zip(names, answers, strict=True))

    def evict(self, name: Id) -> None:
        """Write a stream to the folder, and free its memory; it comes back when it is fed.

        Raises:
            InputError: there is no such stream, it was interrupted, or the pool has no folder.
            SnapshotError: the disk does not take it; it stays in memory then.
        """
        with self._lock:
            self._roster.check([name])
            self._roster.evict(name)

    def flush(self) -> None:
        """Write all streams in memory to the folder: a pool made on it later goes on from there.

        Raises: as `evict`.
        """
        with self._lock:
            for name in self._roster.slots:
                self._roster.write(name)

    def state(self, name: Id) -> State:
        """What a stream carries, as `Session.state`; a copy.

        Raises:
            InputError: there is no such stream, or it was interrupted.
            SnapshotError: an evicted stream's file cannot be read.
        """
        with self._lock:
            self._roster.check([name])
            return self._roster.state(name)

    def save(self, name: Id, path: str | Path) -> None:
        """Write one stream as a file that `Session.restore` reads.

        Raises:
            InputError, SnapshotError: as `state`; or the disk does not take it.
        """
        write_stream(path, self.model, self.state(name))

    def restore(self, name: Id, path: str | Path) -> None:
        """Go on from a file that `save` or `Session.save` wrote; adds the stream if it is new.

        Raises:
            SnapshotError: the file is damaged, of a newer mcore, or of a stream through another
                kind of model; nothing has changed then.
            InputError: a name that is neither text nor a whole number.
        """
        state, _ = read_stream(path, self.model)
        with self._lock:
            self._roster.leave(name)
            self._roster.enter(name, state)

    def _advance(self, names: Sequence[Id], arrays: Sequence[Array]) -> list[Array]:
        """Answers (T, .) for streams that fit into memory together."""
        slots = self._roster.bring(names)
        try:
            return self._answers(slots, arrays)
        except BaseException:
            self._roster.give_up(names)
            raise

    def _answers(self, slots: Array, arrays: Sequence[Array]) -> list[Array]:
        pieces: list[list[Array]] = [[] for _ in arrays]
        batch = self._roster.batch
        for members, begin, end in rectangles([len(x) for x in arrays]):
            x = np.stack([arrays[i][begin:end] for i in members.tolist()])
            for i, y in zip(members.tolist(), batch.advance(slots[members], x), strict=True):
                pieces[i].append(y)
        return [p[0].copy() if len(p) == 1 else namespace(p[0]).concatenate(p) for p in pieces]
