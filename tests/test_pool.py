"""A pool of streams: whatever comes, goes, waits on disk or is moved, each is as if alone."""

import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_models import SPECS, VOCAB, classes, small, vectors
from tolerances import tolerance

import mcore
from mcore.arrays import Array
from mcore.errors import InputError, ShapeError, SnapshotError, SpecError
from mcore.model import Model
from mcore.pool.ragged import rectangles
from mcore.session import Session
from mcore.stream import MANY
from mcore.testing.agreement import assert_agree

BOUND = tolerance("float64", "same")
NAMES: list[str | int] = ["a", "../b", "", 3, "3", 6]
ACTIONS = ("feed", "feed", "feed", "feed", "evict", "remove", "move", "swap", "flush")


class Pair:
    """A pool, and a session for each of its streams that gets the same."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.model, self.folder = model, folder
        self.pool = mcore.SessionPool(model, 3, folder / "pool")
        self.alone: dict[str | int, Session] = {}

    def feed(self, tokens: dict[str | int, Array]) -> None:
        """Feed both, adding streams that are not there, and compare."""
        for name in tokens.keys() - self.alone.keys():
            self.pool.add(name)
            self.alone[name] = self.model.session()
        found = self.pool.feed(tokens)
        assert found.keys() == tokens.keys()
        for name, x in tokens.items():
            assert_agree(found[name], self.alone[name].feed(x), BOUND, str(name))

    def act(self, action: str, name: str | int) -> None:
        """Do something else to one stream."""
        file = self.folder / "moved.safetensors"
        if action == "flush":
            self.pool.flush()
            self.pool = mcore.SessionPool(self.model, 3, self.folder / "pool")
        elif name not in self.alone:
            return
        elif action == "evict":
            self.pool.evict(name)
            assert name not in self.pool.resident
        elif action == "remove":
            self.pool.remove(name)
            del self.alone[name]
        elif action == "move":
            self.pool.save(name, file)
            self.alone[name].restore(file)
        elif action == "swap":
            self.alone[name].save(file)
            self.pool.restore(name, file)

    def check(self) -> None:
        """The same streams, carrying the same."""
        assert set(self.pool) == set(self.alone)
        assert len(self.pool) == len(self.alone)
        assert len(self.pool.resident) <= 3
        for name, session in self.alone.items():
            want, got = session.state, self.pool.state(name)
            assert want.keys() <= got.keys()
            for entry, x in want.items():
                assert got[entry].dtype == x.dtype and got[entry].shape == x.shape, entry


@pytest.mark.parametrize("backend", ["numba", "reference"])
@given(data=st.data())
def test_each_stream_is_as_if_alone(backend: str, data: st.DataObject) -> None:
    """Decoded in place, or stepped."""
    kind = data.draw(st.sampled_from([kind for kind in SPECS if SPECS[kind][0] == backend]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    with TemporaryDirectory() as folder:
        pair = Pair(small(kind), Path(folder))
        for _ in range(data.draw(st.integers(1, 8))):
            action = data.draw(st.sampled_from(ACTIONS))
            if action == "feed":
                lengths = data.draw(
                    st.dictionaries(st.sampled_from(NAMES), st.integers(1, 7), min_size=1)
                )
                pair.feed({name: rng.integers(0, VOCAB, n) for name, n in lengths.items()})
            else:
                pair.act(action, data.draw(st.sampled_from(NAMES)))
        pair.check()


def test_more_streams_than_slots_and_many_tokens(tmp_path: Path) -> None:
    """Slots are doubled while streams are under way; a long feed takes kernels for sequences."""
    rng, pair = np.random.default_rng(0), Pair(small("decoded"), tmp_path)
    pair.pool = mcore.SessionPool(pair.model)
    pair.feed({i: rng.integers(0, VOCAB, 1 + i % 7) for i in range(0, 140, 2)})
    pair.feed({i: rng.integers(0, VOCAB, 2) for i in range(140)})
    pair.feed(
        {7: rng.integers(0, VOCAB, MANY + 2), 3: rng.integers(0, VOCAB, MANY), 1: np.ones(1, int)}
    )
    pair.feed({i: rng.integers(0, VOCAB, 4) for i in range(139, 0, -1)})


def test_vectors(tmp_path: Path) -> None:
    model, rng = vectors(), np.random.default_rng(1)
    pool, alone = mcore.SessionPool(model), [model.session() for _ in range(3)]
    for name in range(3):
        pool.add(name)
    for lengths in ((1, 2, 3), (4, 1, 1), (1, 1, 1)):
        fed = {i: rng.uniform(0, 15, (n, 2)) for i, n in enumerate(lengths)}
        for i, y in pool.feed(fed).items():
            assert_agree(y, alone[i].feed(fed[i]), BOUND, str(i))
    whole = np.stack([np.ones((2, 2)), np.zeros((2, 2))])
    assert model.session().feed(whole).shape == (2, 2, VOCAB)
    for wrong, error in ((np.ones((2, 3)), ShapeError), (np.full((1, 2), np.inf), InputError)):
        with pytest.raises(error, match="stream 1: "):
            pool.feed({0: whole[0], 1: wrong})


def test_means_of_streams_at_other_positions_share_a_call(tmp_path: Path) -> None:
    model, rng = classes(), np.random.default_rng(2)
    pool, alone = mcore.SessionPool(model, 3, tmp_path), [model.session() for _ in range(4)]
    for name in range(4):
        pool.add(name)
    for lengths in ((1, 2, 3, 1), (4, 1, 1, 2), (1, 1, 1, 1)):
        fed = {i: rng.standard_normal((n, 2)) for i, n in enumerate(lengths)}
        for i, y in pool.feed(fed).items():
            assert_agree(y, alone[i].feed(fed[i]), BOUND, str(i))


def test_threads_share_a_pool(tmp_path: Path) -> None:
    """Each thread feeds streams of its own while others come, go and are evicted."""
    model, errors = small("decoded"), list[BaseException]()
    pool = mcore.SessionPool(model, 4, tmp_path)

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        try:
            for turn in range(3):
                name, alone = f"{number} {turn}", model.session()
                pool.add(name)
                for _ in range(8):
                    x = rng.integers(0, VOCAB, rng.integers(1, 4))
                    assert_agree(pool.feed({name: x})[name], alone.feed(x), BOUND, name)
                pool.remove(name)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(pool) == 0


def test_a_refused_feed_changes_nothing() -> None:
    pool, alone = mcore.SessionPool(small("decoded")), small("decoded").session()
    pool.add("a")
    pool.add("b")
    x = np.arange(4)
    refused: list[tuple[Any, type[Exception], str]] = [
        ({"a": x, "c": x}, InputError, "stream 'c': is not there; add it first"),
        ({"a": x, "b": x[:0]}, ShapeError, "stream 'b': shape .0,., expected .T,."),
        ({"a": x, "b": [[1]]}, ShapeError, "stream 'b': shape"),
        ({"a": x, "b": [VOCAB]}, InputError, "stream 'b': holds what is no token"),
        ({"a": x, "b": [0.5]}, InputError, "stream 'b': holds what is no token"),
    ]
    for feeds, error, message in refused:
        with pytest.raises(error, match=message):
            pool.feed(feeds)
    assert_agree(pool.feed({"a": x})["a"], alone.feed(x), BOUND, "a")
    assert pool.feed({}) == {}


def test_an_interrupted_feed_makes_its_streams_unusable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = vectors()
    pool = mcore.SessionPool(model, 2, tmp_path)
    for name in "abc":
        pool.add(name)
        pool.feed({name: np.ones((2, 2))})
    pool.save("b", tmp_path / "b.before")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(model, "step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pool.feed({"b": np.ones((1, 2))})
    with pytest.raises(InputError, match="stream 'b': a feed of it was interrupted"):
        pool.feed({"b": np.ones((1, 2))})
    assert pool.feed({"a": np.ones((1, 2)), "c": np.ones((1, 2))}).keys() == {"a", "c"}
    pool.restore("b", tmp_path / "b.before")
    assert pool.feed({"b": np.ones((1, 2))})["b"].shape == (1, VOCAB)


def test_what_a_pool_refuses(tmp_path: Path) -> None:
    model = small("decoded")
    for limit, folder, message in ((0, tmp_path, "too small"), (2, None, "needs a folder")):
        with pytest.raises(InputError, match=f"limit: {limit} .*{message}"):
            mcore.SessionPool(model, limit, folder)
    pool = mcore.SessionPool(model)
    pool.add("a")
    with pytest.raises(InputError, match="is there already"):
        pool.add("a")
    with pytest.raises(InputError, match="text or a whole number"):
        pool.add(0.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="folder: this pool has none"):
        pool.evict("a")
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(SnapshotError, match="is a snapshot of a model, not a stream"):
        pool.restore("b", tmp_path / "model.safetensors")
    assert "b" not in pool
    lists = {"segmentation": {"kind": "given", "lengths": [[8, 8]] * 32}}
    spec = model.spec.model_dump(mode="json", exclude_unset=True)
    with pytest.raises(SpecError, match="rows of a pool come and go"):
        mcore.SessionPool(mcore.compile({**spec, "memory": {**spec["memory"], **lists}}))


def test_given_cuts_end() -> None:
    spec = small("decoded").spec.model_dump(mode="json", exclude_unset=True)
    cuts = {"segmentation": {"kind": "given", "lengths": [2, 14]}}
    model = mcore.compile({**spec, "memory": {**spec["memory"], **cuts}})
    pool, alone = mcore.SessionPool(model), model.session()
    pool.add("a")
    for n in (1, 3, 11, 1):
        assert_agree(pool.feed({"a": np.ones(n, int)})["a"], alone.feed(np.ones(n, int)), BOUND, "")
    with pytest.raises(SpecError, match="they sum to 16"):
        pool.feed({"a": np.ones(1, int)})


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_rectangles_cover_each_token_once(lengths: list[int]) -> None:
    fed = [list[int]() for _ in lengths]
    for members, begin, end in rectangles(lengths):
        for i in members.tolist():
            fed[i] += range(begin, end)
    assert fed == [list(range(n)) for n in lengths]
