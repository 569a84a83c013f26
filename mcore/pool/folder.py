"""Streams of a pool that are on disk: one file each, as `Session.save` writes it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from mcore.model.part import State
from mcore.session_file import read_stream, write_stream

if TYPE_CHECKING:
    from mcore.model import Model

Id = str | int
"""What streams are called."""

SUFFIX = ".safetensors"
NUMBER = "#"
"""Before names that are numbers; text has it quoted."""


class Folder:
    """Files of streams, named by their ids.

    Attributes:
        path: of the folder, which is made if it is not there.
    """

    def __init__(self, path: str | Path, model: "Model") -> None:
        self.path, self._model = Path(path), model
        self.path.mkdir(parents=True, exist_ok=True)

    def __contains__(self, name: Id) -> bool:
        return self.file(name).exists()

    def __iter__(self) -> Iterator[Id]:
        """Ids of the streams that are there."""
        for file in sorted(self.path.glob("*" + SUFFIX)):
            stem = file.name.removesuffix(SUFFIX)
            number = stem.removeprefix(NUMBER)
            yield int(number) if number != stem else unquote(stem)

    def file(self, name: Id) -> Path:
        """Where a stream is kept."""
        stem = f"{NUMBER}{name}" if isinstance(name, int) else quote(name, safe="")
        return self.path / (stem + SUFFIX)

    def write(self, name: Id, state: State) -> None:
        """Keep a stream."""
        write_stream(self.file(name), self._model, state)

    def read(self, name: Id) -> State:
        """Where a stream is."""
        return read_stream(self.file(name), self._model)[0]

    def forget(self, name: Id) -> None:
        """Delete a stream's file, if there is one."""
        self.file(name).unlink(missing_ok=True)
