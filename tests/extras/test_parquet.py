"""Series from Parquet files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow")

import pyarrow
from pyarrow import parquet

from mcore.data.series import Wanted, read_paths
from mcore.errors import DataError

WANTED = Wanted(("a", "b"), "kind", "who")
COLUMNS: dict[str, list[Any]] = {
    "who": [1, 2, 1],
    "b": [1, None, 3],
    "kind": ["up", "down", "up"],
    "a": [0.5, 1.5, 2.5],
}


def written(path: Path, **changes: list[Any]) -> list[str]:
    parquet.write_table(pyarrow.table(COLUMNS | changes), path)
    return [str(path)]


def test_columns_and_groups(tmp_path: Path) -> None:
    first, second = read_paths(written(tmp_path / "x.parquet"), WANTED)
    assert (first.label, second.label) == ("up", "down")
    np.testing.assert_array_equal(first.x, [[0.5, 1], [2.5, 3]])
    np.testing.assert_array_equal(second.x, [[1.5, np.nan]])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"a": ["x", "y", "z"]}, "column 'a' holds string; numbers would do"),
        ({"a": [1.0, float("inf"), 2.0]}, "column 'a': inf in row 1"),
        ({"kind": ["up", "up", "down"]}, "row 2: label 'down', and the series began with 'up'"),
    ],
)
def test_what_is_wrong(tmp_path: Path, changes: dict[str, list[Any]], words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_paths(written(tmp_path / "x.parquet", **changes), WANTED)
    assert words in str(caught.value)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no column 'c'; its columns are who, b, kind, a"):
        read_paths(written(tmp_path / "x.parquet"), Wanted(("a", "c")))
    path = tmp_path / "y.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_paths([str(path)], WANTED)
