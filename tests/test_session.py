"""A stream that is saved and restored at any token goes on as if nothing had happened."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import BACKENDS
from stream_models import VOCAB, small

import mcore
from mcore.errors import SnapshotError
from mcore.snapshot import Snapshot, write_snapshot

TOKENS = 14
DRIFT = {"kind": "adaptive", "min": 2, "max": 5, "threshold": 0.6}
CONSTANT = {"kind": "constant", "length": 3}
MEMORIES: dict[str, dict[str, Any]] = {
    "plain": {"recurrence": "gated_delta", "segmentation": CONSTANT, "readout": "grm"},
    "by content": {"recurrence": "linear", "segmentation": DRIFT, "readout": "soup"},
    "whole numbers": {
        "recurrence": "mlstm",
        "segmentation": CONSTANT,
        "readout": "grm",
        "cache": {"limit": 2, "evict": "merge", "dtype": "int8"},
    },
    "upper halves": {
        "recurrence": {"kind": "titans", "chunk": 2},
        "segmentation": CONSTANT,
        "readout": {"kind": "ssc", "top_k": 1},
        "start": "checkpoint",
        "cache": {"limit": 3, "dtype": "bfloat16"},
    },
    "what is used": {
        "recurrence": "lstm",
        "segmentation": DRIFT,
        "readout": "grm",
        "cache": {"limit": 2, "evict": "least_used", "dtype": "float16"},
    },
    "answers": {"recurrence": "swla", "segmentation": CONSTANT, "readout": "sigmoid"},
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES.keys())
def test_saved_and_restored_at_any_token(
    memory: dict[str, Any], backend: str, tmp_path: Path
) -> None:
    model = mcore.compile(
        {
            "model": {"width": 16, "heads": 2, "depth": 2},
            "memory": memory,
            "data": {"task": "mqar", "vocab": 32, "length": 16, "pairs": 2},
            "backend": backend,
            "dtype": "float64",
        }
    )
    tokens = np.random.default_rng(0).integers(0, 32, TOKENS)
    whole = model.session().feed(tokens)
    for cut in range(1, TOKENS):
        session = model.session()
        session.feed(tokens[:cut])
        session.save(tmp_path / "stream.safetensors")
        restored = model.session()
        restored.restore(tmp_path / "stream.safetensors")
        assert {n: a.dtype for n, a in restored.state.items()} == {
            n: a.dtype for n, a in session.state.items()
        }
        after, same = restored.feed(tokens[cut:]), session.feed(tokens[cut:])
        np.testing.assert_array_equal(after, same)
        np.testing.assert_allclose(after, whole[cut:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "kind", ["decoded", "whole numbers, shifted", "perceptrons, the least used goes"]
)
def test_a_decoded_stream_goes_on_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    """Also of a stream that was never saved: the cache is a ring, and sums keep their order."""
    tokens, file = np.random.default_rng(3).integers(0, VOCAB, 30), tmp_path / "stream"
    session = small(kind).session()
    whole = np.concatenate([session.feed(tokens[t : t + 1]) for t in range(30)])
    for cut in range(1, 30, 4):
        saved, restored = small(kind).session(), small(kind).session()
        for t in range(cut):
            saved.feed(tokens[t : t + 1])
        saved.save(file)
        restored.restore(file)
        after = [restored.feed(tokens[t : t + 1]) for t in range(cut, 30)]
        np.testing.assert_array_equal(np.concatenate(after), whole[cut:])


OTHER = """
import sys
import numpy as np
import mcore
session = mcore.load(sys.argv[1]).session()
print(session.restore(sys.argv[2])["seen"])
np.save(sys.argv[3], session.feed(np.arange(9)))
session.save(sys.argv[2], {"seen": 14})
"""


def test_a_stream_moves_to_another_process(tmp_path: Path) -> None:
    model, stream, answers = (str(tmp_path / name) for name in ("model", "stream", "y.npy"))
    small("decoded").save(model)
    session = small("decoded").session()
    session.feed(np.arange(5))
    session.save(stream, {"seen": 5})
    code = [sys.executable, "-c", OTHER, model, stream, answers]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    assert done.stdout == "5\n"
    np.testing.assert_array_equal(np.load(answers), session.feed(np.arange(9)))
    assert session.restore(stream) == {"seen": 14}


def test_what_is_no_stream_of_this_model(tmp_path: Path) -> None:
    """A message for each, and the session is as it was."""
    session, path = small("decoded").session(), tmp_path / "stream"
    session.feed(np.arange(5))
    before = session.state
    session.save(path)
    good = path.read_bytes()
    other = small("whole numbers, shifted").session()
    other.feed(np.arange(3))
    cases: list[tuple[Any, str]] = [
        (lambda: path.write_bytes(good[:-9]), "is cut short or not a snapshot"),
        (lambda: path.write_bytes(good[:-1] + b"!"), "is damaged"),
        (lambda: path.write_text("hello"), "is cut short or not a snapshot"),
        (lambda: small("decoded").save(path), "is a snapshot of a model, not a stream"),
        (lambda: other.save(path), r"not a stream through this model \(other memory, parameters"),
        (lambda: write_newer(path), "written by a newer mcore"),
        (path.unlink, "no such file"),
    ]
    for write, message in cases:
        write()
        with pytest.raises(SnapshotError, match=message):
            session.restore(path)
    assert all((before[name] == x).all() for name, x in session.state.items())


def write_newer(path: Path) -> None:
    """A file whose header says that a later version wrote it."""
    write_snapshot(path, Snapshot("spec", {}))
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"]["version"] = "999"
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
