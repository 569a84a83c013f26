"""silero-vad's published weights inside mcore, against what ONNX Runtime makes of them.

The weights are those of the installed package (`pip install --no-deps silero-vad`), which is not
imported; the expected probabilities are a file, of which `silero_signal.py` says how it was made.
"""

import json
import sys
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from silero_signal import EXPECTED, expected, signal

from mcore.weights import load_silero
from mcore.weights.silero_files import installed, onnx_name, silero_arrays

if find_spec("silero_vad") is None:
    reason = "silero-vad is not installed; pip install --no-deps silero-vad brings its weights"
    pytest.skip(reason, allow_module_level=True)

CLOSE = 1e-4
"""In probability. The file has six digits, and the LSTM carries rounding from chunk to chunk."""

UNIFORM: dict[str, Any] = {
    "segmentation": {"kind": "constant", "length": 32},
    "readout": "moving_average",
    "start": "checkpoint",
}


def test_expected_probabilities() -> None:
    written = json.loads(EXPECTED.read_text())
    if version("silero-vad") != written["versions"]["silero-vad"]:
        pytest.skip(f"the file is of silero-vad {written['versions']['silero-vad']}")
    want = np.array(written["probabilities"])
    assert want.max() > 0.9 and want[:10].max() < 0.3 and want[-5:].max() < 0.1
    model = load_silero()
    p = model.probabilities(signal())
    np.testing.assert_allclose(p, want, rtol=0, atol=CLOSE)
    stream = model.stream()
    fed = [stream.feed(signal()[begin : begin + 700]) for begin in range(0, len(signal()), 700)]
    np.testing.assert_allclose(np.concatenate(fed), want, rtol=0, atol=CLOSE)
    assert "silero_vad" not in sys.modules


@pytest.mark.parametrize("name", ["silero_vad.onnx", "silero_vad_16k_op15.onnx"])
def test_onnx_runtime(name: str) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    p = load_silero().probabilities(signal())
    np.testing.assert_allclose(p, expected(name), rtol=0, atol=CLOSE)


def test_the_safetensors_file_holds_other_weights() -> None:
    """Of those the graph of the package makes what mcore makes of them."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = installed().with_name("silero_vad_16k.safetensors")
    graph = onnx.load(installed())
    given = {onnx_name(name): array for name, array in silero_arrays(path).items()}
    for initialiser in graph.graph.initializer:
        if initialiser.name in given:
            array = given.pop(initialiser.name)
            initialiser.CopyFrom(onnx.numpy_helper.from_array(array, initialiser.name))
    assert not given
    p = load_silero(path).probabilities(signal())
    want = expected("", graph.SerializeToString())
    np.testing.assert_allclose(p, want, rtol=0, atol=CLOSE)
    assert np.abs(p - load_silero().probabilities(signal())).max() > 0.1


def test_wrapped_without_retraining() -> None:
    """Up to the first cut nothing changes; from there on probabilities are of an average."""
    model = load_silero()
    plain, wrapped = (m.probabilities(signal()) for m in (model, model.wrap(**UNIFORM)))
    np.testing.assert_allclose(wrapped[:32], plain[:32], rtol=0, atol=1e-6)
    assert np.abs(wrapped[32:] - plain[32:]).max() > 0.1
    stream = model.wrap(**UNIFORM).stream()
    fed = [stream.feed(signal()[begin : begin + 512]) for begin in range(0, len(signal()), 512)]
    np.testing.assert_allclose(np.concatenate(fed), wrapped, rtol=0, atol=1e-5)
