"""Snapshots read back bit for bit, or say what is wrong with the file."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from mcore.errors import SnapshotError
from mcore.snapshot import Snapshot, copy_into, read_snapshot, write_snapshot, write_whole

PARAMS = {
    "embedding.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "bias": np.array([1e-300, -0.0, np.pi]),
    "scalar": np.array(2.5),
    "transposed": np.arange(6.0).reshape(2, 3).T,
}
STATE = {"best": 0.1 + 0.2, "evaluated": 3, "none": None}
FULL = Snapshot("model: {}\n", PARAMS, 7, {"m/bias": np.ones(3)}, STATE)


def test_reads_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_snapshot(path, FULL)
    back = read_snapshot(path)
    assert (back.spec, back.step, back.state, back.kind) == (FULL.spec, 7, STATE, "training")
    for there, ours in ((back.params, FULL.params), (back.optimizer, FULL.optimizer)):
        assert there.keys() == ours.keys()
        for name in ours:
            assert there[name].tobytes() == ours[name].tobytes()
            assert (there[name].dtype, there[name].shape) == (ours[name].dtype, ours[name].shape)
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_model_alone_has_no_optimizer(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "x", Snapshot("", PARAMS))
    assert read_snapshot(tmp_path / "x").kind == "model"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("snapshot") / "x"
    write_snapshot(path, FULL)
    return path.read_bytes()


@given(data=st.data())
def test_cut_anywhere_is_noticed(written: bytes, data: st.DataObject) -> None:
    _refused(written[: data.draw(st.integers(0, len(written) - 1))])


@given(data=st.data())
def test_one_flipped_bit_is_noticed(written: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(written) - 1))
    damaged = bytearray(written)
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    _refused(bytes(damaged))


def _refused(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")
        path.write_bytes(content)
        with pytest.raises(SnapshotError, match=r"x: (is|was|cannot) "):
            read_snapshot(path)


def test_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": np.ones(2)}, path)
    with pytest.raises(SnapshotError, match="not an mcore snapshot"):
        read_snapshot(path)
    path.write_text("not a snapshot at all")
    with pytest.raises(SnapshotError, match="cut short or not a snapshot"):
        read_snapshot(path)
    with pytest.raises(SnapshotError, match="no such file"):
        read_snapshot(tmp_path / "none")
    with pytest.raises(SnapshotError):
        read_snapshot(tmp_path)


def test_newer_version_is_refused(tmp_path: Path, written: bytes) -> None:
    size = struct.unpack("<Q", written[:8])[0]
    header = json.loads(written[8 : 8 + size])
    header["__metadata__"]["version"] = "2"
    text = json.dumps(header).encode()
    path = tmp_path / "x"
    path.write_bytes(struct.pack("<Q", len(text)) + text + written[8 + size :])
    with pytest.raises(SnapshotError, match="newer mcore"):
        read_snapshot(path)


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_whole(path, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(SnapshotError, match="x: cannot be written: no space left on device"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"


def test_copy_into_writes_in_place() -> None:
    params = {"a": np.zeros(2), "b": np.zeros((1, 2))}
    a = params["a"]
    copy_into(params, {"a": np.ones(2), "b": np.ones((1, 2))})
    assert params["a"] is a
    assert a.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("saved", "told"),
    [
        ({}, "a is missing in the snapshot, float64 [2] in the model"),
        ({"a": np.ones(3)}, "a is float64 [3] in the snapshot, float64 [2] in the model"),
        ({"a": np.ones(2, np.float32)}, "a is float32 [2] in the snapshot"),
        ({"a": np.ones(2), "b": np.ones(1)}, "b is float64 [1] in the snapshot, missing in"),
    ],
)
def test_another_models_snapshot(saved: dict[str, np.ndarray], told: str) -> None:
    params = {"a": np.zeros(2)}
    with pytest.raises(SnapshotError) as caught:
        copy_into(params, saved)
    assert told in str(caught.value)
    assert not params["a"].any()
