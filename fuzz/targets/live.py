"""What `mcore stream` reads: lines from a pipe, and the note in its state file."""

import random
import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np

import mcore
from fuzz.mutate import NUMBERS, WORDS, change_bytes, change_lines
from fuzz.signed import change_signed
from fuzz.targets.small import SPEC


class Lines:
    """Vectors and whole numbers, a line each, that come in two pieces."""

    name = "stream-lines"

    def seeds(self) -> list[bytes]:
        """CSV, JSON lists and JSON objects."""
        return [b"x,y\n1,2\n3,4\n,5\n", b'[1, 2]\n{"x": 1, "y": null}\n', b"1\n2\n3\n"]

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """A field, a line or bytes."""
        if rng.random() < 0.5:
            fields = data.split(b",")
            value = str(rng.choice((*NUMBERS[:9], *NUMBERS[10:], *WORDS, [[]], {"x": [1]})))
            fields[rng.randrange(len(fields))] = value.encode("utf-8", "surrogatepass")
            return b",".join(fields)
        return change_lines(data, rng) if rng.random() < 0.5 else change_bytes(data, rng)

    def run(self, data: bytes, folder: Path) -> None:
        """Read to the end, or to the first refusal of the last reader."""
        from mcore.errors import McoreError
        from mcore.live.reader import Bytes, Numbers, Vectors

        refusal: McoreError | None = None
        for reader in (Bytes(0), Numbers(0, 12), Vectors(0, 2, ["x", "y"], None)):
            try:
                for last in (False, True):
                    half = data[len(data) // 2 :] if last else data[: len(data) // 2]
                    list(reader.items(half, last))
            except McoreError as error:
                refusal = error
        if refusal is not None:
            raise refusal


class Note:
    """The state file of `mcore stream`, found again."""

    name = "stream-state"

    @cached_property
    def _model(self) -> mcore.Model:
        return mcore.compile(SPEC, threads=1)

    def seeds(self) -> list[bytes]:
        """A stream that has come some way."""
        from mcore.live.keeper import OFTEN, Keeper, Place

        session = self._model.session()
        session.feed(np.arange(5))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "a")
            place = Place(("in", "out"), 5, 10, 7, [0, 1])
            Keeper(session, path, OFTEN).save(place)
            return [path.read_bytes()]

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """Another file that is signed."""
        return change_signed(data, rng)

    def run(self, data: bytes, folder: Path) -> None:
        """Restore, and open what it says was read and written."""
        from mcore.live.keeper import OFTEN, Keeper
        from mcore.live.reader import Vectors
        from mcore.live.source import Followed

        (folder / "a").write_bytes(data)
        (folder / "in").write_bytes(b"1,2\n" * 5)
        session = self._model.session()
        keeper = Keeper(session, folder / "a", OFTEN)
        place = keeper.restore(("in", "out"))
        source = Followed(folder / "in", place.consumed)
        try:
            read = source.read() or b""
        finally:
            source.close()
        list(Vectors(place.consumed, 2, ["x", "y"], place.columns).items(read, True))
        keeper.save(place)
