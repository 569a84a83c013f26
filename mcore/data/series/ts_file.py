"""The .ts format of the UEA and UCR archives: a line per series, channels apart by colons.

@dimensions 2
@classLabel true walk run
@data
0.1,0.2,0.3:1,2,3:walk
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mcore.data.series.csv_file import number
from mcore.data.series.record import Series, Wanted
from mcore.errors import DataError

Head = dict[str, list[str]]
"""Lines that begin with @: their first word, in lower case, and the others."""


def read_ts(path: Path, wanted: Wanted) -> list[Series]:
    """The series of a .ts file, each with its last field as label where the head says so.

    `?` and NaN are missing values. Channels of one series are equally long; series need not be.

    Raises: DataError, with file and line, for time stamps, another number of channels than names
        are given, channels of unequal length, and what is not a number.
    """
    if wanted.group is not None:
        raise DataError(f"{path}: data.group is for tables; a line of a .ts file is a series")
    try:
        with path.open(encoding="utf-8-sig") as file:
            return _read(path, enumerate(file, 1), wanted)
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text; is it a .ts file?") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{path}: cannot be read: {reason}") from None


def _read(path: Path, lines: Iterator[tuple[int, str]], wanted: Wanted) -> list[Series]:
    head = _head(path, lines)
    labelled = [head.get(key, ["false"])[:1] for key in ("classlabel", "targetlabel")]
    has_label = ["true"] in [[word.lower() for word in words] for words in labelled]
    if wanted.label is not None:
        raise DataError(f"{path}: data.label is for tables; a .ts file has its labels in its lines")
    rows = ((at, line.strip()) for at, line in lines if line.strip())
    series = [_series(f"{path}:{at}", line, has_label, wanted) for at, line in rows]
    if not series:
        raise DataError(f"{path}: has no line after @data; give a file with data")
    return series


def _head(path: Path, lines: Iterator[tuple[int, str]]) -> Head:
    head: Head = {}
    for at, line in lines:
        words = line.split()
        if not words or words[0].startswith(("#", "%")):
            continue
        if not words[0].startswith("@"):
            raise DataError(f"{path}:{at}: stands before @data and begins with none of @ # %")
        key = words[0][1:].lower()
        if key == "data":
            return head
        if key == "timestamps" and [word.lower() for word in words[1:]] == ["true"]:
            raise DataError(f"{path}:{at}: series with time stamps are not read; resample them")
        head[key] = words[1:]
    raise DataError(f"{path}: has no line @data; is it a .ts file?")


def _series(where: str, line: str, has_label: bool, wanted: Wanted) -> Series:
    fields = line.split(":")
    label = fields.pop().strip() if has_label else None
    if len(fields) != len(wanted.columns):
        what = f"{len(fields)} channels, and data.columns names {len(wanted.columns)}"
        raise DataError(f"{where}: {what}; name each of them, in order")
    channels = [
        [number(cell, f"{where}: channel {name!r}") for cell in field.split(",")]
        for name, field in zip(wanted.columns, fields, strict=True)
    ]
    lengths = sorted({len(channel) for channel in channels})
    if len(lengths) > 1:
        raise DataError(f"{where}: channels of {lengths[0]} and {lengths[-1]} values; one length")
    return Series(where, np.array(channels, np.float64).T, label)
