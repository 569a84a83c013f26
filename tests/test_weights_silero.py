"""The detector's computation on random weights, against loops over its definition.

tests/extras/test_silero.py has the published weights, and what ONNX Runtime makes of them.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from torch_convention import run, sigmoid

import mcore
from mcore.arrays import Array
from mcore.testing.agreement import assert_agree
from mcore.weights import Silero, load_silero
from mcore.weights.silero_files import FILE, SHAPES, onnx_name

CHUNKS = 5
STRIDES = {"conv1": 1, "conv2": 2, "conv3": 2, "conv4": 1}
CUT = {"kind": "constant", "length": 2}
WRAPPINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "uniform": {"segmentation": CUT, "readout": "moving_average", "start": "checkpoint"},
}


def random_weights() -> dict[str, Array]:
    """Of the model's shapes, each filter of about unit gain."""
    rng = np.random.default_rng(0)
    return {
        name: (rng.standard_normal(shape) / np.prod(shape[1:]) ** 0.5).astype(np.float32)
        for name, shape in SHAPES.items()
    }


@pytest.fixture(scope="module")
def weights() -> dict[str, Array]:
    return random_weights()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, weights: dict[str, Array]) -> Path:
    path = tmp_path_factory.mktemp("silero") / "x.safetensors"
    save_file(weights, path)
    return path


@pytest.fixture(scope="module")
def model(path: Path) -> Silero:
    return load_silero(path, dtype="float64")


def sound(rows: int = 1, samples: int = CHUNKS * 512 - 100) -> Array:
    return np.random.default_rng(1).standard_normal((rows, samples))


def convolved(x: Array, weight: Array, bias: Array, stride: int) -> Array:
    """(C, L) -> (O, L'), one answer after the other."""
    width = weight.shape[2]
    begins = range(0, x.shape[1] - width + 1, stride)
    answers = [np.tensordot(weight, x[:, b : b + width], axes=2) + bias for b in begins]
    return np.stack(answers, axis=1)


def token(chunk: Array, weights: dict[str, Array]) -> Array:
    """The LSTM's input for 576 samples."""
    mirrored = np.concatenate([chunk, chunk[-65:-1][::-1]])
    waves = convolved(mirrored[None], weights["stft_conv.weight"], np.zeros(258), 128)
    x: Array = np.hypot(waves[:129], waves[129:])
    for name, stride in STRIDES.items():
        padded = np.pad(x, ((0, 0), (1, 1)))
        x = convolved(padded, weights[f"{name}.weight"], weights[f"{name}.bias"], stride)
        x = np.maximum(x, 0)
    return x[:, 0]


def probabilities(samples: Array, weights: dict[str, Array]) -> Array:
    padded = np.concatenate([np.zeros(64), samples, np.zeros(-len(samples) % 512)])
    begins = range(0, len(padded) - 575, 512)
    tokens = np.stack([token(padded[b : b + 576], weights) for b in begins])
    params = {
        f"{name.removeprefix('lstm_cell.')}_l0": x
        for name, x in weights.items()
        if name.startswith("lstm_cell.")
    }
    h = run("lstm", params, tokens[None], 1)[0][0]
    return sigmoid(
        np.maximum(h, 0) @ weights["final_conv.weight"][0, :, 0] + weights["final_conv.bias"]
    )


def test_probabilities(model: Silero, weights: dict[str, Array]) -> None:
    samples = sound()[0]
    p = model.probabilities(samples)
    assert p.shape == (CHUNKS,) and np.ptp(p) > 1e-3
    assert_agree(p, probabilities(samples, weights), 1e-10, "p")


def test_recordings_side_by_side(model: Silero) -> None:
    rows = sound(3)
    p = model.probabilities(rows)
    for n, row in enumerate(rows):
        assert_agree(p[n], model.probabilities(row), 1e-10, f"recording {n}")


@pytest.mark.parametrize("wrapping", WRAPPINGS.values(), ids=WRAPPINGS.keys())
@pytest.mark.parametrize("piece", [1, 100, 512, 513, 5000])
def test_a_stream_however_split(model: Silero, wrapping: dict[str, Any], piece: int) -> None:
    wrapped = model.wrap(**wrapping)
    rows = sound(2)
    stream = wrapped.stream()
    if piece == 1:
        found = [stream.feed(rows[:, :511]), *(stream.feed(rows[:, n : n + 1]) for n in (511, 512))]
        found.append(stream.feed(rows[:, 513:]))
    else:
        found = [stream.feed(rows[:, n : n + piece]) for n in range(0, rows.shape[1], piece)]
    found.append(stream.finish())
    assert_agree(np.concatenate(found, axis=1), wrapped.probabilities(rows), 1e-10, "p")
    assert stream.finish().shape == (2, 0)


def test_a_stream_is_saved_and_restored(model: Silero, tmp_path: Path) -> None:
    wrapped, samples = model.wrap(**WRAPPINGS["uniform"]), sound()[0]
    for cut in (0, 300, 1024, 1700):
        stream, restored = wrapped.stream(), wrapped.stream()
        if cut:
            stream.feed(samples[:cut])
        stream.save(tmp_path / "x")
        restored.restore(tmp_path / "x")
        np.testing.assert_array_equal(restored.feed(samples[cut:]), stream.feed(samples[cut:]))
        np.testing.assert_array_equal(restored.finish(), stream.finish())
    with pytest.raises(mcore.SnapshotError, match="not a stream through these weights"):
        model.stream().restore(tmp_path / "x")


def test_sound_that_will_not_do(model: Silero) -> None:
    with pytest.raises(mcore.InputError, match="divided by 32768"):
        model.probabilities(np.ones(600, np.int16))
    with pytest.raises(mcore.InputError, match="NaN or infinity"):
        model.stream().feed(np.full(600, np.nan))
    with pytest.raises(mcore.ShapeError, match=r"\(N,\) or \(B, N\)"):
        model.probabilities(np.ones((1, 2, 3)))
    with pytest.raises(mcore.ShapeError, match="at least one sample"):
        model.probabilities(np.ones(0))
    stream = model.stream()
    stream.feed(np.ones((2, 5)))
    with pytest.raises(mcore.ShapeError, match="1 recordings, the stream has 2"):
        stream.feed(np.ones(5))
    with pytest.raises(mcore.InputError, match="moving_average, residual or none would do"):
        model.wrap(CUT, "grm")


def test_files_that_will_not_do(
    weights: dict[str, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({**weights, "conv1.bias": np.ones(3)}, tmp_path / "x.safetensors")
    with pytest.raises(mcore.SnapshotError, match=r"conv1.bias is \(3,\), expected \(128,\)"):
        load_silero(tmp_path / "x.safetensors")
    save_file({"conv1.bias": np.ones(128)}, tmp_path / "x.safetensors")
    with pytest.raises(mcore.SnapshotError, match=r"stft_conv\.weight is missing"):
        load_silero(tmp_path / "x.safetensors")
    with pytest.raises(mcore.SnapshotError, match="no such file"):
        load_silero(tmp_path / "none.whl")
    (tmp_path / "x.whl").write_bytes(b"text")
    with pytest.raises(mcore.SnapshotError, match="not a wheel"):
        load_silero(tmp_path / "x.whl")
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        wheel.writestr("a", "b")
    with pytest.raises(mcore.SnapshotError, match=f"has no {FILE} in it"):
        load_silero(tmp_path / "x.whl")
    monkeypatch.setattr("mcore.weights.silero_files.find_spec", lambda name: None)
    with pytest.raises(mcore.SnapshotError, match="pip install --no-deps silero-vad"):
        load_silero()


def test_names_in_the_onnx_file() -> None:
    names = [onnx_name(name) for name in SHAPES]
    assert names[:3] == [
        "model.stft.forward_basis_buffer",
        "model.encoder.0.reparam_conv.weight",
        "model.encoder.0.reparam_conv.bias",
    ]
    assert names[-5:] == [
        "model.decoder.rnn.weight_hh",
        "model.decoder.rnn.bias_ih",
        "model.decoder.rnn.bias_hh",
        "model.decoder.decoder.2.weight",
        "model.decoder.decoder.2.bias",
    ]
