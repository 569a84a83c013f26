"""CSV: a header line, then a line per token."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mcore.data.series.record import MISSING, Series, Wanted
from mcore.data.series.table import Table, missing_columns, series_of
from mcore.errors import DataError


def read_csv(path: Path, wanted: Wanted) -> list[Series]:
    """The series of a CSV file; separated by commas, or by `;` or tabs if its header is.

    Empty cells, ?, NA, NaN, null and none are missing values.

    Raises: DataError, with file and line, for a cell that is not a number, a line that is too
        short or too long, a column that is not there, and a file that is not UTF-8 text.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return series_of(_table(path, _lines(path, file), wanted), wanted)
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{path}: cannot be read: {reason}") from None


def _lines(path: Path, file: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every line that is not blank, the header first."""
    header = next(file, "")
    if not header.strip():
        raise DataError(f"{path}:1: no header; the first line names the columns")
    separator = max(",;\t", key=header.count)
    yield 1, next(csv.reader([header], delimiter=separator))
    reader, begin = csv.reader(file, delimiter=separator), 2
    try:
        for cells in reader:
            if cells:
                yield begin, cells
            begin = reader.line_num + 2
    except csv.Error as error:
        raise DataError(f"{path}:{begin}: {error}; is this a CSV file?") from None


def _table(path: Path, lines: Iterator[tuple[int, list[str]]], wanted: Wanted) -> Table:
    _, header = next(lines)
    header = [name.strip() for name in header]
    missing_columns(str(path), header, wanted)
    places = [header.index(name) for name in wanted.columns]
    texts: dict[str, list[str]] = {name: [] for name in wanted.texts}
    numbers, at = [], []
    for line, cells in lines:
        if len(cells) != len(header):
            what = f"{len(cells)} cells, and the header names {len(header)} columns"
            raise DataError(f"{path}:{line}: {what}; one cell for each would do")
        at.append(line)
        numbers.append([number(cells[i], f"{path}:{line}: column {header[i]!r}") for i in places])
        for name, column in texts.items():
            column.append(cells[header.index(name)].strip())
    x = np.array(numbers, np.float64).reshape(len(numbers), len(places))
    return Table(str(path), lambda row: f"{path}:{at[row]}", x, texts)


def number(text: str, where: str) -> float:
    """A cell as a number, NaN where it is missing.

    Raises: DataError that begins with `where`, for other text and for infinity.
    """
    try:
        value = float(text)
    except ValueError:
        if text.strip().lower() in MISSING:
            return math.nan
        shown = repr(text if len(text) < 40 else text[:37] + "...")
        remedy = "leave a cell empty where a value is missing"
        raise DataError(f"{where}: {shown} is not a number; {remedy}") from None
    if math.isinf(value):
        raise DataError(f"{where}: {text.strip()} is not finite; leave the cell empty instead")
    return value
