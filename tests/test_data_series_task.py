"""Series as a task: what is held out, what is scored, what batches hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcore.arrays import Array
from mcore.data import Batch, SeriesTask, make_task
from mcore.errors import DataError
from mcore.spec import read_spec

LENGTH, HORIZON = 8, 2


def task_of(batch: int = 4, **data: Any) -> SeriesTask:
    section = {"task": "series", "columns": ["a", "b"], "length": LENGTH, **data}
    task = make_task(read_spec({"data": section}).data, batch, 0)
    assert isinstance(task, SeriesTask)
    return task


def forecast(folder: Path, *series: Array, **data: Any) -> SeriesTask:
    paths = []
    for number, x in enumerate(series):
        paths.append(str(folder / f"{number}.npy"))
        np.save(paths[-1], x)
    section: dict[str, Any] = {"paths": paths, "target": ["b"], "horizon": HORIZON}
    return task_of(**(section | data))


def ramp(tokens: int, start: int = 0) -> Array:
    """Channel a counts, channel b is 1000 more."""
    a = np.arange(start, start + tokens, dtype=float)
    return np.stack([a, 1000 + a], axis=1)


def scored(batches: list[Batch]) -> list[float]:
    """Channel a at every token that has a label."""
    found: list[float] = []
    for tokens, labels in batches:
        there = ~np.isnan(labels).all(axis=-1)
        found += tokens[there][:, 0].tolist()
    return found


def test_training_never_sees_the_held_out_part(tmp_path: Path) -> None:
    task = forecast(tmp_path, ramp(40), ramp(20, 100), validation=0.25)
    for step in range(50):
        tokens, labels = task.train_batch(step)
        assert tokens.shape == (4, LENGTH, 2)
        assert labels.shape == (4, LENGTH, HORIZON)
        for values in (tokens[..., 0], labels - 1000):
            held = (values >= 30) & (values < 100) | (values >= 115)
            assert not held.any()
    assert task.statistics()["input.mean"][1] == 1000 + np.mean([*range(30), *range(100, 115)])


def test_labels_are_what_follows(tmp_path: Path) -> None:
    task = forecast(tmp_path, ramp(40))
    tokens, labels = task.train_batch(3)
    there = ~np.isnan(labels)
    wanted = tokens[..., 1:] + np.arange(1, HORIZON + 1)
    np.testing.assert_array_equal(labels[there], wanted[there])


@pytest.mark.parametrize("length", [1, 2, 7, 8, 64])
def test_every_held_out_token_is_scored_once(tmp_path: Path, length: int) -> None:
    task = forecast(tmp_path, ramp(40), ramp(23, 100), length=length, validation=0.3)
    batches = list(task.eval_batches())
    assert {batch.tokens.shape for batch in batches} == {(4, length, 2)}
    assert sorted(scored(batches)) == [*range(28, 39), *range(116, 122)]


def test_held_out_tokens_see_half_a_window_of_the_past(tmp_path: Path) -> None:
    task = forecast(tmp_path, ramp(60), validation=0.5)
    for tokens, labels in task.eval_batches():
        for row, label in zip(tokens, labels, strict=True):
            there = np.flatnonzero(~np.isnan(label).all(axis=-1))
            if there.size:
                assert there[0] == LENGTH // 2
                np.testing.assert_array_equal(np.diff(row[: there[-1] + 1, 0]), 1)


def test_files_that_are_held_out_are_scored_from_their_start(tmp_path: Path) -> None:
    np.save(tmp_path / "test.npy", ramp(12, 500))
    task = forecast(tmp_path, ramp(20), test=[str(tmp_path / "test.npy")])
    assert scored(list(task.eval_batches())) == [*range(500, 511)]
    assert task.statistics()["input.mean"][0] == np.arange(20).mean()


def test_missing_values_are_not_scored(tmp_path: Path) -> None:
    x = ramp(30)
    x[5, 1] = x[25, 1] = np.nan
    task = forecast(tmp_path, x, horizon=1, validation=0.4)
    assert scored(list(task.eval_batches())) == [18, 19, 20, 21, 22, 23, 26, 27, 28]
    for step in range(20):
        tokens, labels = task.train_batch(step)
        where = ~np.isnan(labels[..., 0])
        assert not {4.0, 5.0} & set(tokens[where][:, 0])


def test_statistics_of_what_is_forecast(tmp_path: Path) -> None:
    x = np.stack([np.arange(100.0) ** 2, np.full(100, 7.0)], axis=1)
    found = forecast(tmp_path, x, target=["a", "b"], horizon=2).statistics()
    a = np.arange(80.0) ** 2
    assert found["head.std"][0] == pytest.approx(np.sqrt(np.mean((a[1:] - a[:-1]) ** 2)))
    assert found["head.std"][2] == pytest.approx(np.sqrt(np.mean((a[2:] - a[:-2]) ** 2)))
    np.testing.assert_array_equal(found["head.std"][[1, 3]], 1)
    assert found["input.std"][1] == 1
    assert not found["head.mean"].any()


def test_short_series_are_filled_up(tmp_path: Path) -> None:
    task = forecast(tmp_path, ramp(5), validation=0.4)
    tokens, labels = task.train_batch(0)
    assert not tokens[:, 3:].any()
    assert np.isnan(labels[:, 2:]).all()


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (1, "'b' in the training part has another 1 tokens later; longer series, or fewer"),
        (2, "another 1 tokens later"),
        (3, "another 2 tokens later; a smaller horizon would do"),
    ],
)
def test_too_short_to_learn_from(tmp_path: Path, tokens: int, words: str) -> None:
    with pytest.raises(DataError) as caught:
        forecast(tmp_path, ramp(tokens))
    assert words in str(caught.value)


def test_nothing_to_score(tmp_path: Path) -> None:
    x = ramp(40)
    x[-9:, 1] = np.nan
    with pytest.raises(DataError, match="the held-out part holds nothing to score"):
        forecast(tmp_path, x)


def test_a_channel_without_a_value(tmp_path: Path) -> None:
    x = ramp(40)
    x[:32, 0] = np.nan
    with pytest.raises(DataError, match=r"data\.columns: 'a' has no value in the training part"):
        forecast(tmp_path, x).statistics()


def test_values_that_are_too_large(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.columns: 'a' has values too large"):
        forecast(tmp_path, 1e200 * ramp(40)).statistics()


def test_classes_may_be_numbers() -> None:
    data = {"task": "series", "columns": ["a"], "head": "classify", "classes": [0, 1, "two"]}
    assert read_spec({"data": data}).data.classes == ("0", "1", "two")  # type: ignore[union-attr]


def rows(folder: Path, count: int = 10, **data: Any) -> SeriesTask:
    """Rows of 3 to 5 tokens whose class is their parity, whose value is their number."""
    lines = ["row,a,b,kind,size"]
    for n in range(count):
        kind = "odd" if n % 2 else "even"
        lines += [f"{n},{n},{t},{kind},{10 * n}" for t in range(3 + n % 3)]
    path = folder / "rows.csv"
    path.write_text("\n".join(lines))
    section: dict[str, Any] = {"paths": [str(path)], "group": "row", "head": "classify"}
    section |= {"label": "kind", "classes": ["even", "odd"]}
    return task_of(**(section | data))


def test_classes_of_rows_of_any_length(tmp_path: Path) -> None:
    tokens, labels = rows(tmp_path).train_batch(0)
    assert labels.dtype.kind == "i"
    for row, label in zip(tokens, labels, strict=True):
        (last,) = np.flatnonzero(label != -1)
        number = int(row[0, 0])
        assert last == 2 + number % 3
        assert label[last] == number % 2
        assert not row[last + 1 :].any()


def test_a_row_is_on_one_side(tmp_path: Path) -> None:
    task = rows(tmp_path, validation=0.3)
    held = {row[0, 0] for tokens, _ in task.eval_batches() for row in tokens if row.any()}
    seen = {row[0, 0] for step in range(9) for row in task.train_batch(step).tokens}
    assert len(held) == 3
    assert not held & seen
    more = rows(tmp_path, 12, validation=0.25)
    later = {row[0, 0] for tokens, _ in more.eval_batches() for row in tokens if row.any()}
    assert len(later) == 3


def test_each_round_has_every_row_once(tmp_path: Path) -> None:
    task = rows(tmp_path, validation=0.2)
    batches = [task.train_batch(step).tokens[:, 0, 0] for step in range(4)]
    first, second = np.concatenate(batches[:2]), np.concatenate(batches[2:])
    assert sorted(first) == sorted(second) == sorted({*first})
    assert first.tolist() != second.tolist()
    np.testing.assert_array_equal(task.train_batch(2).tokens[:, 0, 0], batches[2])


def test_values_of_rows(tmp_path: Path) -> None:
    task = rows(tmp_path, head="regress", label="size", classes=[])
    tokens, labels = task.train_batch(0)
    assert labels.shape == (4, LENGTH, 1)
    np.testing.assert_array_equal(np.nansum(labels, axis=(1, 2)), 10 * tokens[:, 0, 0])
    found = task.statistics()
    assert found["head.mean"].shape == found["head.std"].shape == (1,)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"classes": ["even", "other"]}, "label 'odd' is not among data.classes (even, other)"),
        ({"label": None}, "rows.csv (row 0): has no label; set data.label"),
        ({"length": 4}, "(row 2): has 5 tokens, and data.length is 4; rows are read whole"),
        ({"head": "regress", "classes": []}, "the label: 'even' is not a number"),
        ({"paths": []}, "data.paths: no file is named"),
    ],
)
def test_rows_that_are_wrong(tmp_path: Path, data: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        rows(tmp_path, **data)
    assert words in str(caught.value)


def test_one_row_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one row in all; two would do"):
        rows(tmp_path, 1)


def test_the_description_tells_data_apart(tmp_path: Path) -> None:
    x = ramp(40)
    first = forecast(tmp_path, x).description
    assert first.startswith("series: 1 with 32 tokens, 1 with 8 held out (")
    assert forecast(tmp_path, x).description == first
    x[3, 1] += 1e-9
    assert forecast(tmp_path, x).description != first
