"""Files of series, one kind each: CSV, NPY, NPZ, Parquet and .ts."""

import io
import random
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.mutate import NUMBERS, WORDS, change_bytes, change_lines

SUFFIXES = ("csv", "npy", "npz", "ts", "parquet")

_CSV = "name,x,y,label\n" + "".join(f"s{n // 4},{n},{n / 7},{n // 4 % 2}\n" for n in range(12))
_TS = "@dimensions 2\n@classLabel true a b\n@data\n1,2,3,4:0.5,?,2,1:a\n4,3,2,1:1,1e3,NaN,2:b\n"


class SeriesFile:
    """`data: {task: series, paths: [...]}`."""

    def __init__(self, suffix: str) -> None:
        self.suffix, self.name = suffix, f"series-{suffix}"

    def seeds(self) -> list[bytes]:
        """Two channels, with labels where the kind has them."""
        if self.suffix == "csv":
            return [_CSV.encode(), _CSV.replace(",", ";").encode(), b"x,y\n1,2\n,3\n"]
        if self.suffix == "ts":
            return [_TS.encode()]
        return [_saved(self.suffix, n) for n in range(3)]

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """A cell, a line, a header or bytes."""
        if self.suffix in ("csv", "ts") and rng.random() < 0.7:
            return _cells(data, rng) if rng.random() < 0.6 else change_lines(data, rng)
        if self.suffix == "npy" and rng.random() < 0.7:
            return _header(data, rng)
        return change_bytes(data, rng)

    def run(self, data: bytes, folder: Path) -> None:
        """Read it in each way that it can be asked for."""
        from mcore.data.series.paths import read_paths
        from mcore.data.series.record import Wanted
        from mcore.errors import McoreError

        (folder / f"a.{self.suffix}").write_bytes(data)
        refusal: McoreError | None = None
        for label, group in ((None, None), ("label", None), ("label", "name")):
            try:
                found = read_paths([f"a.{self.suffix}"], Wanted(("x", "y"), label, group))
            except McoreError as error:
                refusal = error
                continue
            if not all(each.x.dtype == np.float64 and each.x.shape[1] == 2 for each in found):
                raise AssertionError("series of another form")
        if refusal is not None:
            raise refusal


def _saved(suffix: str, number: int) -> bytes:
    x = np.arange(16.0).reshape((8, 2) if number == 0 else (2, 4, 2))
    file = io.BytesIO()
    if suffix == "npy":
        np.save(file, x.astype(("f8", "i4", "f2")[number]))
    elif suffix == "npz":
        (np.savez_compressed if number == 2 else np.savez)(file, x=x, label=np.array(["a", "b"]))
    else:
        _parquet(file, number)
    return file.getvalue()


def _parquet(file: Any, number: int) -> None:
    from pyarrow import parquet, table

    columns: dict[str, list[Any]] = {"x": [1.0, 2.0, None, 4.0], "y": [1, 2, 3, 4]}
    if number:
        columns |= {"label": ["a", "a", "b", "b"], "name": ["s", "s", "t", "t"]}
    parquet.write_table(table(columns), file, compression=("none", "snappy", "gzip")[number])


def _cells(data: bytes, rng: random.Random) -> bytes:
    """A cell becomes something else."""
    separator = rng.choice((b",", b":", b"\n"))
    cells = data.split(separator)
    value = str(rng.choice((*NUMBERS[:9], *NUMBERS[10:], *WORDS)))
    cells[rng.randrange(len(cells))] = value.encode("utf-8", "surrogatepass")
    return separator.join(cells)


def _header(data: bytes, rng: random.Random) -> bytes:
    """An .npy of another dtype, order or shape than its bytes."""
    kinds = ("<f8", ">f4", "|O", "|V9", "<U3", "<c16", "<M8[s]", "<f99", "[('a', '<f8')]", "<i8")
    shapes = ("(8, 2)", "()", "(0, 2)", "(-1,)", "(2**40,)", f"({2**40}, 2)", "(8,)", "(1,)*40")
    kind = rng.choice(kinds)
    shown = kind if kind.startswith("[") else repr(kind)
    order = rng.choice(("False", "True", "None", "[" * 200 + "]" * 200))
    text = f"{{'descr': {shown}, 'fortran_order': {order}, 'shape': {rng.choice(shapes)}}}"
    header = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data[128:]
