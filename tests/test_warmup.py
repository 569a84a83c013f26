"""`mcore warmup`: what it has compiled is all that training and streams of any size need."""

import gc
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

import mcore
from mcore import warmup
from mcore.cli import main
from mcore.training.sample import optimizer_of, sample
from mcore.training.step import take_step

SPECS = Path(__file__).resolve().parents[1] / "specs"
Capture = pytest.CaptureFixture[str]

DOCUMENTS = {
    "model": {"width": 16, "heads": 2, "depth": 1},
    "memory": {"recurrence": "gated_delta", "segmentation": "constant", "readout": "ssc"},
    "data": {"task": "text", "corpus": "python-stdlib", "length": 24, "documents": True},
}
TRUNCATED = {
    "model": {"width": 16, "heads": 2, "depth": 1},
    "memory": {"recurrence": "linear", "readout": "grm", "start": "checkpoint"},
    "data": {"task": "text", "corpus": "python-stdlib", "length": 40},
    "train": {"truncate": 10},
}
KINDS: dict[str, Any] = {
    "hybrid": SPECS / "hybrid.yaml",
    "documents": DOCUMENTS,
    "truncated": TRUNCATED,
}


def signatures() -> set[tuple[str, str]]:
    """Of all kernels, compiled or loaded from disk."""
    every = [x for x in gc.get_objects() if isinstance(x, numba.core.dispatcher.Dispatcher)]
    return {(kernel.__qualname__, str(types)) for kernel in every for types in kernel.signatures}


def use(model: mcore.Model, rows: int, tokens: int) -> None:
    """A training step, forward and backward, and a stream, with sizes of their own."""
    optimizer = optimizer_of(model)
    for step, batch in enumerate(sample(model, rows, tokens), 1):
        take_step(step, batch, model, optimizer, model.spec.train)
    logits, saved = model.forward(batch.tokens)
    model.backward(saved, logits)
    session = model.session()
    for piece in (batch.tokens[0], batch.tokens[0, :1]):
        session.feed(piece)


@pytest.mark.parametrize("kind", KINDS)
def test_other_sizes_need_no_other_kernels(kind: str) -> None:
    cut = "memory.segmentation={kind: constant, length: 8}"
    model = mcore.compile(mcore.load_spec(KINDS[kind], [cut]))
    for job in warmup.jobs(model):
        warmup.warm(model, job)
    before = signatures()
    other = mcore.load_spec(KINDS[kind], [cut.replace("8", "5"), "model.heads=4"])
    use(mcore.compile(other), 7, 23)
    assert signatures() == before


def test_a_reference_model_compiles_nothing(capsys: Capture) -> None:
    spec = str(SPECS / "delta.yaml")
    small = ["--set", "data.length=8", "--set", "data.pairs=2", "--set", "backend=reference"]
    assert main(["warmup", spec, *small, "--quiet"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.startswith(f"{spec}: already warm (")
    assert "kernels are in" not in output.out


FRESH = """
import sys, mcore
from mcore import warmup
from mcore.cli import main
from test_warmup import use

spec = sys.argv[1]
for _ in range(2):
    assert main(["warmup", spec]) == 0
model = mcore.compile(mcore.load_spec(spec, ["model.window=5", "model.heads=4"]))
with warmup.watching(model) as kernels:
    use(model, 3, 37)
print(len(kernels), "late")
"""


def test_a_fresh_cache_is_filled_once(tmp_path: Path) -> None:
    spec = str(SPECS / "sliding_window.yaml")
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.getenv("PYTHONPATH")]))
    env = {**os.environ, "MCORE_CACHE_DIR": str(tmp_path), "PYTHONPATH": paths}
    command = [sys.executable, "-c", FRESH, spec]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, cwd=SPECS.parent
    )
    assert done.returncode == 0, done.stderr
    first, second, late = done.stdout.splitlines()
    assert re.match(rf"{re.escape(spec)}: compiled [1-9]\d* kernels \(", first)
    assert f"kernels are in {tmp_path}" in first
    assert second.startswith(f"{spec}: already warm (")
    assert late == "0 late"
    assert "attention_backward_kernel" in done.stderr


def test_flags_and_layouts_need_no_other_kernels() -> None:
    """Read-only, scattered, reversed, Fortran-ordered and other types are made alike first."""
    axes: list[Any] = ["gated_delta", {"kind": "constant", "length": 4}, {"kind": "ssc"}]
    memory = mcore.memory(*axes, backend="numba")
    sizes = {"B": 2, "T": 13, "H": 2, "K": 4, "V": 4}
    shapes = {n: [sizes[a] for a in axes.split()] for n, axes in memory.inputs.items()}
    inputs = {name: -np.ones(shape, np.float32) for name, shape in shapes.items()}
    y, saved = memory.forward(inputs)
    memory.backward(saved, y)
    before, end = signatures(), saved.end
    fixed = {name: np.broadcast_to(np.float64(-1), shape) for name, shape in shapes.items()}
    turned = {name: np.asfortranarray(x)[:, ::-1] for name, x in inputs.items()}
    single = {name: x[:1, :1] for name, x in inputs.items()}
    for given, state in ((fixed, None), (turned, end), (single, None)):
        y, saved = memory.forward(given, state)
        memory.backward(saved, np.broadcast_to(np.float64(1), y.shape))
    memory.forward(inputs, document=np.zeros((2, 13), np.uint8))
    assert signatures() == before
