"""Files that weights and sound come from: WAV, and the initialisers of ONNX."""

import wave
from pathlib import Path

import numpy as np
import pytest

import mcore
from mcore.weights import read_wave
from mcore.weights.onnx_file import parse_onnx

WAVES = {1: [0, 64, 128, 255], 2: [-32768, 0, 16384, 32767], 3: [-(2**23), 0, 2**22, 1]}
WAVES |= {4: [-(2**31), 0, 2**30, 1]}


def written(path: Path, content: bytes, width: int, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(16000)
        file.writeframes(content)
    return path


@pytest.mark.parametrize("width", WAVES)
def test_samples_of_every_width(width: int, tmp_path: Path) -> None:
    values = WAVES[width]
    content = b"".join(v.to_bytes(width, "little", signed=width > 1) for v in values)
    samples, rate = read_wave(written(tmp_path / "x.wav", content, width))
    middle = 128 if width == 1 else 0
    want = [(v - middle) / 2 ** (8 * width - 1) for v in values]
    assert (rate, samples.dtype.name) == (16000, "float32")
    np.testing.assert_allclose(samples, want, rtol=1e-7)


def test_channels_are_averaged(tmp_path: Path) -> None:
    content = np.array([[100, 300], [-200, 0]], "<i2").tobytes()
    samples, _ = read_wave(written(tmp_path / "x.wav", content, 2, channels=2))
    np.testing.assert_allclose(samples, [200 / 32768, -100 / 32768])


def test_files_that_are_no_wav(tmp_path: Path) -> None:
    with pytest.raises(mcore.DataError, match="no such file"):
        read_wave(tmp_path / "none.wav")
    with pytest.raises(mcore.DataError, match="cannot be read"):
        read_wave(tmp_path)
    whole = written(tmp_path / "x.wav", bytes(8), 2).read_bytes()
    for size in (0, 3, 20, 40):
        (tmp_path / "x.wav").write_bytes(whole[:size])
        with pytest.raises(mcore.DataError, match="cut short or not a PCM WAV file"):
            read_wave(tmp_path / "x.wav")


def field(number: int, value: bytes | int) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    found = []
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def tensor(name: str, array: np.ndarray, kind: int, packed: bool) -> bytes:
    """An initialiser in a graph's field."""
    shape = [field(1, n) for n in array.shape]
    if packed:
        shape = [field(1, b"".join(varint(n) for n in array.shape))]
    own = [*shape, field(2, kind), field(8, name.encode()), field(9, array.tobytes())]
    return field(5, b"".join(own))


A, HALF = np.arange(600, dtype="<f4").reshape(2, 300), np.array([0.5, -2], "<f2")
MODEL = (
    field(1, 8)
    + (13 << 3 | 5).to_bytes(1, "little")
    + bytes(4)
    + field(
        7,
        field(1, b"a node")
        + tensor("a", A, 1, packed=True)
        + tensor("half", HALF, 10, packed=False)
        + tensor("whole", np.ones(3, "<i8"), 7, packed=True)
        + tensor("scalar", np.array(3.0, "<f8"), 11, packed=False),
    )
)


def test_initialisers_of_onnx() -> None:
    found = parse_onnx("x", MODEL)
    assert set(found) == {"a", "half", "scalar"}
    np.testing.assert_array_equal(found["a"], A)
    np.testing.assert_array_equal(found["half"], HALF)
    assert found["scalar"] == 3.0 and found["scalar"].shape == ()


def test_onnx_cut_anywhere_is_noticed() -> None:
    begin = len(MODEL) - len(MODEL[MODEL.index(b"a node") :])
    for size in [*range(begin + 40), *range(begin + 40, len(MODEL), 97)]:
        with pytest.raises(mcore.SnapshotError, match=r"x: (is cut short|has no init)"):
            parse_onnx("x", MODEL[:size])


@pytest.mark.parametrize("seed", range(30))
def test_onnx_that_is_noise_is_refused(seed: int) -> None:
    noise = np.random.default_rng(seed).bytes(200)
    with pytest.raises(mcore.SnapshotError, match=r"x: (is cut short|has no init)"):
        parse_onnx("x", noise)
    with pytest.raises(mcore.SnapshotError, match=r"x: (is cut short|has no init)"):
        parse_onnx("x", field(7, field(5, noise)))
