"""Which reader reads which file."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mcore.data.files import named_files
from mcore.data.series.array_file import read_array
from mcore.data.series.csv_file import read_csv
from mcore.data.series.parquet_file import read_parquet
from mcore.data.series.record import Series, Wanted
from mcore.data.series.ts_file import read_ts
from mcore.errors import DataError

READERS: dict[str, Callable[[Path, Wanted], list[Series]]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".npy": read_array,
    ".npz": read_array,
    ".parquet": read_parquet,
    ".ts": read_ts,
}


def read_paths(paths: Sequence[str], wanted: Wanted) -> list[Series]:
    """All series of the files, patterns and folders that a spec names.

    Raises: DataError when a path names nothing, or a file is of no known kind or wrong.
    """
    return [series for piece in named_files(paths) for series in _read(piece.path, wanted)]


def _read(path: Path, wanted: Wanted) -> list[Series]:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: is of no kind that is read; one of {', '.join(READERS)} would do")
    return reader(path, wanted)
