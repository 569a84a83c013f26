"""Sessions and pools of streams on a GPU, emulated: their states are there, and in files."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_memories import GPU
from stream_models import SPECS, VOCAB, small

from mcore.arrays import Array
from mcore.model import Model
from mcore.placing import on_host, to_host
from mcore.pool import SessionPool
from mcore.spec.compile import layout_of

TOKENS = np.random.default_rng(0).integers(0, VOCAB, (3, 11))
EVERY = pytest.mark.parametrize("name", SPECS)


@cache
def there(name: str) -> Model:
    """The small model of that name on the GPU, with the same parameters."""
    here = small(name)
    layout = layout_of(here.spec, GPU, "float64")
    return Model(here.spec, layout, here.params, GPU)


def in_pieces(stream: Any, tokens: Array) -> Array:
    """Outputs of tokens fed in uneven pieces, on the host."""
    pieces = np.split(tokens, [1, 2, 6], axis=-1)
    return np.concatenate([to_host(stream.feed(piece)) for piece in pieces], axis=-2)


@EVERY
def test_a_session_is_that_of_the_host(name: str) -> None:
    mine, theirs = there(name).session(), small(name).session()
    np.testing.assert_allclose(in_pieces(mine, TOKENS), in_pieces(theirs, TOKENS), atol=1e-9)
    for key, wanted in theirs.state.items():
        x = mine.state[key]
        computed = wanted.dtype.kind == "f" and not key.endswith("ledger")
        assert on_host(x) != (computed or key.endswith("checkpoints")), key
        np.testing.assert_allclose(to_host(x), wanted, atol=1e-9, err_msg=key)


@EVERY
def test_a_saved_stream_goes_on_anywhere(name: str, tmp_path: Path) -> None:
    mine, path = there(name).session(), tmp_path / "stream.safetensors"
    in_pieces(mine, TOKENS[0])
    mine.save(path, {"read": 11})
    wanted = in_pieces(mine, TOKENS[1])
    for model in (there(name), small(name)):
        again = model.session()
        assert again.restore(path) == {"read": 11}
        np.testing.assert_allclose(in_pieces(again, TOKENS[1]), wanted, atol=1e-9)


@EVERY
def test_a_pool_is_many_sessions(name: str, tmp_path: Path) -> None:
    wanted = [in_pieces(small(name).session(), row) for row in TOKENS]
    pool = SessionPool(there(name), limit=2, folder=tmp_path)
    for stream in range(3):
        pool.add(stream)
    found: list[list[Array]] = [[], [], []]
    for begin, end in ((0, 2), (2, 7), (7, 11)):
        feeds = {s: TOKENS[s, begin : end - (s == 1)] for s in range(3)}
        late = {1: TOKENS[1, end - 1 : end]}
        for part in (feeds, late):
            for stream, y in pool.feed(part).items():
                assert not on_host(y)
                found[stream].append(to_host(y))
    for got, row in zip(found, wanted, strict=True):
        np.testing.assert_allclose(np.concatenate(got), row, atol=1e-9)
    pool.save(2, tmp_path / "two")
    session = small(name).session()
    session.restore(tmp_path / "two")
    pool.restore("again", tmp_path / "two")
    after = to_host(pool.feed({"again": TOKENS[0]})["again"])
    np.testing.assert_allclose(session.feed(TOKENS[0]), after, atol=1e-9)
