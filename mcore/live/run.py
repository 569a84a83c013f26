"""The loop of a live stream: read, feed, write lines, save now and then."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from mcore.errors import DataError
from mcore.live.answers import Answers
from mcore.live.keeper import OFTEN, Every, Keeper
from mcore.live.reader import Item, reader_of
from mcore.live.sink import sink_of
from mcore.live.source import Followed, Pipe, Source
from mcore.placing import to_host
from mcore.session import Session
from mcore.training.interrupt import Interrupts

if TYPE_CHECKING:
    from mcore.model import Model


class Stopped(KeyboardInterrupt):
    """A signal ended a live stream, after all that was fed had been saved.

    Attributes:
        exit_code: 130 after Ctrl-C, 143 after SIGTERM, as shells count.
        tokens: that were fed, those before an earlier stop included.
    """

    def __init__(self, tokens: int, number: int) -> None:
        self.tokens, self.exit_code = tokens, 128 + number
        super().__init__(f"stopped after token {tokens}")


@dataclass(frozen=True)
class Options:
    """What a live stream is told.

    Attributes:
        follow: the file to follow; None for standard input.
        state: the file to keep the state in, if any.
        every: how often that is written.
        out: the file for lines; None for standard output.
        top: likeliest next tokens in a line.
        chunk: items that are fed together. With 1, no answer waits for what comes next.
    """

    follow: Path | None = None
    state: Path | None = None
    every: Every = OFTEN
    out: Path | None = None
    top: int = 3
    chunk: int = 1


class Live:
    """A stream through a model, from where its state file says on.

    Answers are the same bits wherever it was stopped, killed and resumed. After each save, lines of
    the output file, bytes of the input and the state belong together; what was written after the
    last save is cut off and written again.

    Attributes:
        place: how far it has come.
        source: where its bytes come from, once it is open.

    Raises:
        SnapshotError: the state file cannot be read, or belongs to another model.
    """

    def __init__(self, model: "Model", options: Options) -> None:
        self._session, self._options = Session(model), options
        self._keeper = Keeper(self._session, options.state, options.every)
        self.place = place = self._keeper.restore(_names(options))
        self._answers = Answers(model, options.top, place.score)
        self._reader = reader_of(model, place.consumed, place.columns)
        self._pending: list[Item] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Open the input and the output.

        Raises:
            DataError: one of them cannot be used.
        """
        follow, offset = self._options.follow, self.place.consumed
        with ExitStack() as stack:
            self.source: Source = Pipe(offset) if follow is None else Followed(follow, offset)
            stack.callback(self.source.close)
            self._sink = sink_of(self._options.out, self.place.written)
            stack.callback(self._sink.close)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        self._open.close()

    def run(self) -> None:
        """Feed all that comes, until the input ends.

        Raises:
            Stopped: a signal came; all is saved.
            DataError: input that cannot be used; what came before it is saved.
        """
        with Interrupts() as interrupts:
            self._save()
            last = False
            while not last and interrupts.signal is None:
                data = self.source.read()
                last = data is None
                try:
                    self._feed_all(self._reader.items(data or b"", last), interrupts)
                except DataError:
                    self._save()
                    raise
                if last and self._pending and interrupts.signal is None:
                    self._feed()
                self._sink.flush()
                if self._keeper.due(self.place.tokens):
                    self._save()
            self._save()
            if interrupts.signal is not None:
                raise Stopped(self.place.tokens, interrupts.signal)

    def _feed_all(self, items: Iterator[Item], interrupts: Interrupts) -> None:
        for item in items:
            self._pending.append(item)
            if len(self._pending) == self._options.chunk:
                self._feed()
            if interrupts.signal is not None:
                return

    def _feed(self) -> None:
        """Feed what waits, write its lines, and save if it is time."""
        place, items = self.place, self._pending
        answers = to_host(self._session.feed(np.array([item.x for item in items])))
        for item, y in zip(items, answers, strict=True):
            self._sink.write(self._answers.line(place.tokens, item.x, y))
            place.tokens += 1
        place.consumed, self._pending = items[-1].end, []
        if self._keeper.due(place.tokens):
            self._save()

    def _save(self) -> None:
        self.place.written, self.place.columns = self._sink.settle(), self._reader.columns
        self._keeper.save(self.place)


def _names(options: Options) -> tuple[str, str]:
    """What the input and the output are called in the state's note."""
    paths = (options.follow, options.out)
    return tuple("" if path is None else str(path.resolve()) for path in paths)  # type: ignore[return-value]
