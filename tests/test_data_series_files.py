"""Readers of series: what they read, and what they say of files that are wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcore.data.series import Series, Wanted, read_paths
from mcore.errors import DataError

AB = Wanted(("a", "b"))
TS = "# a comment\n%\n@problemName P\n@timeStamps false\n@classLabel true up down\n@data\n"


def read(path: Path, wanted: Wanted = AB) -> list[Series]:
    return read_paths([str(path)], wanted)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_of_a_csv_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", 'b,"time",a\n1,noon,2.5\n-3e2,,4\n\n')
    (series,) = read(path)
    assert series.name == str(path)
    assert series.label is None
    np.testing.assert_array_equal(series.x, [[2.5, 1], [4, -300]])


@pytest.mark.parametrize(("suffix", "mark"), [("csv", ";"), ("tsv", "\t"), ("csv", "\t")])
def test_other_separators(tmp_path: Path, suffix: str, mark: str) -> None:
    path = written(tmp_path, f"x.{suffix}", f"\ufeffa{mark}b\r\n1{mark}2\r\n")
    np.testing.assert_array_equal(read(path)[0].x, [[1, 2]])


def test_what_is_missing(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", "a,b\n,?\nNaN,NA\nnull, none\n1,n/a\n")
    np.testing.assert_array_equal(read(path)[0].x, [[np.nan, np.nan]] * 3 + [[1, np.nan]])


def test_groups_are_series_in_the_order_of_their_first_rows(tmp_path: Path) -> None:
    text = "who,a,b,kind\nx,1,2,up\ny,3,4,down\nx,5,6,up\n"
    path = written(tmp_path, "x.csv", text)
    x, y = read(path, Wanted(("a", "b"), "kind", "who"))
    assert (x.name, x.label, y.label) == (f"{path} (who x)", "up", "down")
    np.testing.assert_array_equal(x.x, [[1, 2], [5, 6]])
    np.testing.assert_array_equal(y.x, [[3, 4]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "x.csv:1: no header; the first line names the columns"),
        ("a,b\n", "x.csv: has a header and no row"),
        ("a,c\n1,2\n", "x.csv: has no column 'b'; its columns are a, c"),
        ("a,b\n1,2\n3\n", "x.csv:3: 1 cells, and the header names 2 columns"),
        ("a,b\n1,2\n\n1,2,3\n", "x.csv:4: 3 cells, and the header names 2 columns"),
        ("a,b\n1,two\n", "x.csv:2: column 'b': 'two' is not a number; leave a cell empty where"),
        ("a,b\n1,1_0x\n", "x.csv:2: column 'b': '1_0x' is not a number"),
        ("a,b\n1,inf\n", "x.csv:2: column 'b': inf is not finite"),
        ('a,b\n1,"2\n3,4\n', "x.csv:2: column 'b': '2\\n3,4\\n' is not a number"),
    ],
)
def test_a_csv_that_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = written(tmp_path, "x.csv", text)
    with pytest.raises(DataError) as caught:
        read(path)
    assert words in str(caught.value)


def test_a_csv_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n1,\xff\xfe\n")
    with pytest.raises(DataError, match=r"x\.csv: is not UTF-8 text"):
        read(path)


def test_two_labels_of_one_series(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", "a,b,kind\n1,2,up\n3,4,down\n")
    with pytest.raises(DataError) as caught:
        read(path, Wanted(("a", "b"), "kind"))
    said = str(caught.value)
    assert f"{path}:3: label 'down', and the series began with 'up'; set data.group" in said


def test_arrays(tmp_path: Path) -> None:
    x = np.arange(12.0).reshape(3, 2, 2)
    np.save(tmp_path / "x.npy", x.astype("float32"))
    np.savez(tmp_path / "x.npz", x=x, kind=np.array(["u", "d", "u"]))
    for series, wanted in zip(read(tmp_path / "x.npy"), x, strict=True):
        np.testing.assert_array_equal(series.x, wanted)
    found = read(tmp_path / "x.npz", Wanted(("a", "b"), "kind"))
    assert [series.label for series in found] == ["u", "d", "u"]
    np.save(tmp_path / "one.npy", np.arange(5))
    (one,) = read(tmp_path / "one.npy", Wanted(("a",)))
    assert one.x.shape == (5, 1)


@pytest.mark.parametrize(
    ("array", "wanted", "words"),
    [
        (np.zeros((4, 3)), AB, "has 3 channels, and data.columns names 2"),
        (np.zeros((1, 2, 3, 2)), AB, "shape (1, 2, 3, 2); (T, C), or (N, T, C), would do"),
        (np.zeros((0, 2)), AB, "shape (0, 2)"),
        (np.array([["a", "b"]]), AB, "holds <U1; numbers would do"),
        (np.array([[1, np.inf]]), AB, "inf at series 0, token 0, channel 1; NaN marks"),
        (np.array([[1, None]]), AB, "cannot be read as an array of numbers"),
        (np.zeros((4, 2)), AB._replace(label="kind"), "has no labels; save an .npz"),
        (np.zeros((4, 2)), AB._replace(group="who"), "data.group is for tables"),
    ],
)
def test_an_array_that_is_wrong(tmp_path: Path, array: Any, wanted: Wanted, words: str) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "x.npy", wanted)
    assert words in str(caught.value)


def test_an_npz_that_is_wrong(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", y=np.zeros((4, 2)))
    with pytest.raises(DataError, match="has no array 'x'; it has y"):
        read(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", x=np.zeros((3, 4, 2)), kind=np.zeros(2))
    with pytest.raises(DataError, match=r"'kind' has shape \(2,\), and there are 3 series"):
        read(tmp_path / "y.npz", Wanted(("a", "b"), "kind"))


def test_ts_files(tmp_path: Path) -> None:
    path = written(tmp_path, "x.ts", TS + "1,2,3:4,?,6:up\n7:8:down\n")
    up, down = read(path)
    assert (up.label, down.label, up.name) == ("up", "down", f"{path}:7")
    np.testing.assert_array_equal(up.x, [[1, 4], [2, np.nan], [3, 6]])
    np.testing.assert_array_equal(down.x, [[7, 8]])
    (bare,) = read(written(tmp_path, "y.ts", "@classLabel false\n@data\n1,2:3,4\n"))
    assert bare.label is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2:3,4\n", "x.ts:1: stands before @data and begins with none of @ # %"),
        ("@classLabel true a\n", "x.ts: has no line @data"),
        (TS, "x.ts: has no line after @data"),
        ("@timeStamps true\n@data\n", "x.ts:1: series with time stamps are not read"),
        (TS + "1,2:up\n", "x.ts:7: 1 channels, and data.columns names 2"),
        (TS + "1,2:3:up\n", "x.ts:7: channels of 1 and 2 values"),
        (TS + "1,2:3,x:up\n", "x.ts:7: channel 'b': 'x' is not a number"),
    ],
)
def test_a_ts_file_that_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = written(tmp_path, "x.ts", text)
    with pytest.raises(DataError) as caught:
        read(path)
    assert words in str(caught.value)


def test_files_of_other_kinds(tmp_path: Path) -> None:
    path = written(tmp_path, "x.xlsx", "")
    with pytest.raises(DataError, match=r"of no kind that is read; one of \.csv, \.tsv, \.npy"):
        read(path)
    with pytest.raises(DataError, match="no such file or folder"):
        read(tmp_path / "nothing.csv")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), suffix=st.sampled_from(["csv", "npy", "npz", "ts"]))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    """Never another error than DataError, which names the file."""
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content)
    try:
        read(path)
    except DataError as error:
        assert str(path) in str(error)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet="ab,;:\n\"'12.e-@#dat ", max_size=80))
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    for name in ("x.csv", "x.ts"):
        path = written(tmp_path, name, "a,b\n" * name.endswith("csv") + text)
        try:
            read(path)
        except DataError as error:
            assert str(path) in str(error)
