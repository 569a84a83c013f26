"""Text: which files, which side, and that every held-out byte counts once."""

import bz2
import lzma
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcore.data import PackedBatch, Text, compression_table, make_task
from mcore.data.files import Piece, limited, named_files, split, standard_library
from mcore.data.mapped import mapped
from mcore.data.text import open_text
from mcore.errors import DataError


def _spec(*paths: Path | str, **changes: object) -> SimpleNamespace:
    data = {"task": "text", "corpus": None, "length": 8, "validation": 0.3, "eval_bytes": 10**6}
    data["documents"] = False
    return SimpleNamespace(**{**data, "paths": tuple(map(str, paths)), **changes})


def _open(spec: SimpleNamespace, batch: int = 3, seed: int = 0) -> Text:
    task = make_task(spec, batch, seed)
    assert isinstance(task, Text)
    return task


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for n in range(20):
        path = tmp_path / "corpus" / f"part{n % 3}" / f"file{n}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.integers(0, 256, int(rng.integers(1, 60)), np.uint8).tobytes())
    (tmp_path / "corpus" / ".hidden").write_bytes(b"secret")
    (tmp_path / "corpus" / "empty.txt").write_bytes(b"")
    return tmp_path / "corpus"


def test_each_file_is_on_one_side(corpus: Path) -> None:
    train, held_out = open_text(None, [str(corpus)], 0.3, 10**6)
    names = [piece.name for piece in (*train, *held_out)]
    assert len(names) == len(set(names)) == 20
    assert ".hidden" not in names
    assert 1 <= len(held_out) <= 12
    assert names == [
        piece.name for side in open_text(None, [str(corpus)], 0.3, 10**6) for piece in side
    ]


def test_a_file_keeps_its_side_when_others_come(corpus: Path) -> None:
    before = open_text(None, [str(corpus)], 0.3, 10**6)
    (corpus / "new.txt").write_bytes(b"something new")
    after = open_text(None, [str(corpus)], 0.3, 10**6)
    for side, wider in zip(before, after, strict=True):
        assert {piece.name for piece in side} <= {piece.name for piece in wider}


@given(
    st.lists(st.text("abc", min_size=1, max_size=4), min_size=2, unique=True), st.floats(0.01, 0.99)
)
def test_both_sides_get_a_file(names: list[str], validation: float) -> None:
    pieces = [Piece(Path(name), name, 0, 9) for name in names]
    train, held_out = split(pieces, validation)
    assert train
    assert held_out
    assert sorted(p.name for p in (*train, *held_out)) == sorted(names)


def test_a_lone_file_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_bytes(bytes(range(100)))
    task = _open(_spec(path, validation=0.2))
    assert b"".join(task.documents()) == bytes(range(80, 100))
    seen = {int(token) for step in range(50) for token in task.train_batch(step).tokens.ravel()}
    assert max(seen) < 80


def test_files_patterns_and_folders_name_the_same_files_once(corpus: Path) -> None:
    some = [f"{corpus}/part0/*.txt", f"{corpus}/part1", str(corpus / "part2" / "file2.txt")]
    names = [piece.name for piece in named_files([*some, *some])]
    assert len(names) == 7 + 7 + 1
    assert len(named_files([f"{corpus}/**/*.txt"])) == 21


def test_limit_takes_whole_files_or_cuts_the_first() -> None:
    pieces = [Piece(Path(), str(n), 5, 15) for n in range(4)]
    assert limited(pieces, 25) == pieces[:2]
    assert limited(pieces, 20) == pieces[:2]
    assert limited(pieces, 1000) == pieces
    assert limited(pieces, 4) == [Piece(Path(), "0", 5, 9)]


@given(st.data())
def test_every_held_out_byte_is_scored_once(data: st.DataObject) -> None:
    import tempfile

    contents = data.draw(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5))
    length, batch = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    with tempfile.TemporaryDirectory() as folder:
        pieces = []
        for n, content in enumerate([b"0123456789", b"ab", *contents]):
            path = Path(folder, str(n))
            path.write_bytes(content)
            pieces.append(Piece(path, str(n), 0, len(content)))
        task = Text(pieces[:1], pieces[1:], length, batch, 0)
        batches = list(task.eval_batches())
        documents = list(task.documents())
    assert {part.tokens.shape for part in batches} == {(batch, length)}
    tokens, labels = (np.concatenate(column) for column in zip(*batches, strict=True))
    scored = labels[labels >= 0]
    assert bytes(scored.tolist()) == b"".join(document[1:] for document in documents)
    contexts = tokens[labels >= 0]
    assert bytes(contexts.tolist()) == b"".join(document[:-1] for document in documents)


def test_training_windows_are_pieces_of_the_joined_files(corpus: Path) -> None:
    task = _open(_spec(corpus))
    joined = b"".join(piece.read().tobytes() for piece in task.train)
    batches = [task.train_batch(step) for step in range(40)]
    for batch in batches:
        tokens, labels = batch.tokens, batch.labels
        assert tokens.shape == labels.shape == (3, 8)
        for row, following in zip(tokens, labels, strict=True):
            assert bytes([*row, following[-1]]) in joined
            np.testing.assert_array_equal(row[1:], following[:-1])
    again = _open(_spec(corpus))
    np.testing.assert_array_equal(batches[3], again.train_batch(3))
    assert not np.array_equal(batches[0], _open(_spec(corpus), seed=1).train_batch(0))


def test_training_text_is_mapped_or_read_where_it_lies(corpus: Path, tmp_path: Path) -> None:
    task = _open(_spec(corpus))
    several = mapped(task.train)
    assert isinstance(several, np.memmap)
    assert several.tobytes() == b"".join(piece.read().tobytes() for piece in task.train)
    (tmp_path / "one").write_bytes(b"0123456789")
    one = mapped([Piece(tmp_path / "one", "one", 2, 7)])
    assert one[1:3].tobytes() == b"34"


def test_every_window_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(20)))
    task = _open(_spec(tmp_path / "a", validation=0.1), batch=64)
    starts = {int(row[0]) for step in range(10) for row in task.train_batch(step).tokens}
    assert starts == set(range(18 - 8))


def test_standard_library() -> None:
    names = [piece.name for piece in standard_library()]
    assert {"argparse.py", "json/decoder.py"} <= set(names)
    assert names == sorted(names, key=lambda name: Path(name).parts)
    assert not [name for name in names if {"site-packages", "test", "tests"} & {*Path(name).parts}]
    task = _open(_spec(corpus="python-stdlib", eval_bytes=50_000))
    assert (task.vocab, task.metric) == (256, "bits_per_byte")
    assert sum(map(len, task.documents())) <= 50_000


def test_compression_table_matches_the_compressors() -> None:
    files = [b"a" * 5000, bytes(range(256)) * 30, b""]
    total = sum(map(len, files))
    found = dict(compression_table(iter(files)))
    expected = {
        "zlib -9": sum(len(zlib.compress(f, 9)) for f in files),
        "bz2 -9": sum(len(bz2.compress(f, 9)) for f in files),
        "lzma -9e": sum(len(lzma.compress(f, preset=9 | lzma.PRESET_EXTREME)) for f in files),
    }
    assert found == {name: 8 * size / total for name, size in expected.items()}


def test_missing_empty_and_short(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt: no such file or folder"):
        _open(_spec(tmp_path / "none.txt"))
    with pytest.raises(DataError, match=r"\*\.txt: no files there"):
        _open(_spec(tmp_path / "*.txt"))
    with pytest.raises(DataError, match="no files there"):
        _open(_spec(tmp_path))
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(DataError, match="every file is empty"):
        _open(_spec(tmp_path))
    (tmp_path / "b.txt").write_bytes(b"12345678")
    with pytest.raises(
        DataError, match=r"hold 6 bytes, fewer than one window of 9 \(data.length\)"
    ):
        _open(_spec(tmp_path))
    (tmp_path / "b.txt").write_bytes(b"1" * 100)
    with pytest.raises(DataError, match="nothing to predict"):
        _open(_spec(tmp_path, validation=0.01))


def test_files_that_go_or_shrink_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 100)
    task = _open(_spec(path))
    path.write_bytes(b"x" * 50)
    with pytest.raises(DataError, match="shorter than when the run began"):
        task.train_batch(0)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read: no such file"):
        list(task.eval_batches())


def test_description_tells_data_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 100)
    before = _open(_spec(path)).description
    assert before.startswith("text: 70 bytes in 1 files, 30 held out in 1 (")
    assert before == _open(_spec(path)).description
    path.rename(tmp_path / "b.txt")
    assert before != _open(_spec(tmp_path / "b.txt")).description


def test_files_may_be_kept_apart(corpus: Path) -> None:
    plain, apart = _open(_spec(corpus, length=40)), _open(_spec(corpus, length=40, documents=True))
    sizes = [piece.size for piece in plain.train]
    crossed = 0
    for step in range(1, 9):
        whole, batch = plain.train_batch(step), apart.train_batch(step)
        np.testing.assert_array_equal(batch.tokens, whole.tokens)
        assert isinstance(batch, PackedBatch)
        for row in range(3):
            ids, counts = np.unique(batch.document[row], return_counts=True)
            assert (np.diff(batch.document[row]) >= 0).all()
            assert all(counts[i] == sizes[ids[i]] for i in range(1, len(ids) - 1))
            ends = np.flatnonzero(np.diff(batch.document[row]))
            assert (batch.labels[row, ends] == -1).all()
            crossed += len(ends)
            scored = batch.labels[row] >= 0
            np.testing.assert_array_equal(batch.labels[row][scored], whole.labels[row][scored])
    assert crossed > 0
