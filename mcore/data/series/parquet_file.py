"""Parquet: a column per channel, a row per token."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcore.data.series.record import Series, Wanted
from mcore.data.series.table import Table, missing_columns, series_of
from mcore.errors import DataError


def read_parquet(path: Path, wanted: Wanted) -> list[Series]:
    """The series of a Parquet file; nulls are missing values.

    Raises: DataError when pyarrow is not installed, the file is none of Parquet, or a column is
        not there, does not hold numbers, or holds infinity.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        ways = "pip install mcore[parquet], or save the data as CSV"
        raise DataError(f"{path}: needs the package pyarrow: {ways}") from None
    try:
        missing_columns(str(path), parquet.read_schema(path).names, wanted)
        names = list(dict.fromkeys((*wanted.columns, *wanted.texts)))
        columns = parquet.read_table(path, columns=names)
        numbers = [_numbers(columns[name], path, name) for name in wanted.columns]
        texts = {name: [str(v) for v in columns[name].to_pylist()] for name in wanted.texts}
    except (ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from None
    table = Table(str(path), lambda row: f"{path}: row {row}", np.stack(numbers, axis=1), texts)
    return series_of(table, wanted)


def _numbers(column: Any, path: Path, name: str) -> NDArray[np.float64]:
    """A column as float64, nulls as NaN."""
    from pyarrow import types

    kind = column.type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise DataError(f"{path}: column {name!r} holds {kind}; numbers would do")
    values = [np.nan if value is None else value for value in column.to_pylist()]
    array = np.array(values, np.float64)
    if np.isinf(array).any():
        row = int(np.argmax(np.isinf(array)))
        raise DataError(f"{path}: column {name!r}: {array[row]} in row {row}; null would do")
    return array
