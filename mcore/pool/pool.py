"""Streams by name, advanced together; those that were not fed for long wait on disk."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from mcore.arrays import Array
from mcore.errors import InputError
from mcore.model.part import State
from mcore.pool.batch import Batch
from mcore.pool.folder import Folder, Id
from mcore.pool.inputs import checked
from mcore.pool.ragged import rectangles
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
        if limit is not None and (limit < 1 or folder is None):
            wrong = (
                "is too small; 1 or more would do" if limit < 1 else "needs a folder to evict to"
            )
            raise InputError(f"limit: {limit} {wrong}")
        self.model, self.limit = model, limit
        self.folder = None if folder is None else Path(folder)
        self._disk = None if folder is None else Folder(folder, model)
        self._batch, self._lock = Batch(model), RLock()
        self._slots: OrderedDict[Id, int] = OrderedDict()
        self._away, self._broken = set[Id](self._disk or ()), set[Id]()

    def __len__(self) -> int:
        """Number of streams, in memory and on disk."""
        with self._lock:
            return len(self._slots) + len(self._away) + len(self._broken)

    def __contains__(self, name: Id) -> bool:
        """Whether there is such a stream."""
        with self._lock:
            return name in self._slots or name in self._away or name in self._broken

    def __iter__(self) -> Iterator[Id]:
        """Ids of all streams: those in memory, the last fed at the end, come last."""
        with self._lock:
            return iter([*sorted(self._away | self._broken, key=str), *self._slots])

    @property
    def resident(self) -> list[Id]:
        """Ids of the streams in memory, the last fed at the end."""
        with self._lock:
            return list(self._slots)

    def add(self, name: Id) -> None:
        """A stream that has not begun.

        Raises:
            InputError: there is one of that name, or the name is neither text nor a whole number.
        """
        with self._lock:
            if name in self:
                raise InputError(f"stream {name!r}: is there already; another name would do")
            self._enter(name, {})

    def remove(self, name: Id) -> None:
        """Forget a stream, and delete its file in the folder.

        Raises:
            InputError: there is no such stream.
        """
        with self._lock:
            if name not in self:
                raise InputError(_missing(name))
            self._leave(name)
            if self._disk is not None:
                self._disk.forget(name)

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
            self._check(feeds)
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
            self._check([name])
            if name in self._slots:
                self._write(name)
                self._leave(name)
                self._away.add(name)

    def flush(self) -> None:
        """Write all streams in memory to the folder: a pool made on it later goes on from there.

        Raises: as `evict`.
        """
        with self._lock:
            for name in self._slots:
                self._write(name)

    def state(self, name: Id) -> State:
        """What a stream carries, as `Session.state`; a copy.

        Raises:
            InputError: there is no such stream, or it was interrupted.
            SnapshotError: an evicted stream's file cannot be read.
        """
        with self._lock:
            self._check([name])
            if name in self._slots:
                return self._batch.take(self._slots[name])
            assert self._disk is not None
            return self._disk.read(name)

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
            self._leave(name)
            self._enter(name, state)

    def _check(self, names: Iterable[Id]) -> None:
        for name in names:
            if name in self._broken:
                raise InputError(
                    f"stream {name!r}: a feed of it was interrupted; restore or remove it"
                )
            if name not in self._slots and name not in self._away:
                raise InputError(_missing(name))

    def _advance(self, names: Sequence[Id], arrays: Sequence[Array]) -> list[Array]:
        """Answers (T, .) for streams that fit into memory together."""
        for name in names:
            if name in self._slots:
                self._slots.move_to_end(name)
        for name in names:
            self._bring(name)
        slots = np.array([self._slots[name] for name in names])
        try:
            return self._answers(slots, arrays)
        except BaseException:
            for name in names:
                self._leave(name)
            self._broken.update(names)
            raise

    def _answers(self, slots: Array, arrays: Sequence[Array]) -> list[Array]:
        pieces: list[list[Array]] = [[] for _ in arrays]
        for members, begin, end in rectangles([len(x) for x in arrays]):
            x = np.stack([arrays[i][begin:end] for i in members.tolist()])
            for i, y in zip(members.tolist(), self._batch.advance(slots[members], x), strict=True):
                pieces[i].append(y)
        return [p[0].copy() if len(p) == 1 else np.concatenate(p) for p in pieces]

    def _bring(self, name: Id) -> None:
        """Have a stream in memory."""
        if name not in self._slots:
            assert self._disk is not None
            self._enter(name, self._disk.read(name))

    def _enter(self, name: Id, state: State) -> None:
        if not isinstance(name, str | int):
            raise InputError(f"stream {name!r}: text or a whole number would do as a name")
        if self.limit is not None and len(self._slots) >= self.limit:
            self.evict(next(iter(self._slots)))
        self._slots[name] = self._batch.begin(state)
        self._away.discard(name)

    def _leave(self, name: Id) -> None:
        """Be without a stream, wherever it is."""
        self._broken.discard(name)
        self._away.discard(name)
        if name in self._slots:
            self._batch.end(self._slots.pop(name))

    def _write(self, name: Id) -> None:
        if self._disk is None:
            raise InputError("folder: this pool has none to write streams to; give it one")
        self._disk.write(name, self._batch.take(self._slots[name]))


def _missing(name: Id) -> str:
    return f"stream {name!r}: is not there; add it first"
