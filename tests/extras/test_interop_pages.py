"""What the pages on other libraries show runs as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import interop
from benchmarks.results import load, path_of

DOCS = Path(__file__).resolve().parents[2] / "docs"


def run(page: str) -> dict[str, Any]:
    """Everything that a page's program leaves."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    scope: dict[str, Any] = {}
    for block in blocks:
        exec(block, scope)
    return scope


def test_jax_trains_and_scans() -> None:
    pytest.importorskip("jax")
    left = run("jax.md")
    assert left["losses"][0] > 3
    assert left["losses"][-1] < 0.1
    for name, gradient in left["whole"].items():
        assert abs(gradient - left["parts"][name]).max() < 1e-6


def test_torch_compares_and_trains() -> None:
    pytest.importorskip("torch")
    left = run("torch.md")
    assert left["losses"][-1] < 0.5 * left["losses"][0]


def test_the_measurement_runs(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    pytest.importorskip("torch")
    interop.main(["--sizes", "1/8/1/4", "--seconds", "0", "--out", str(tmp_path)])
    (row,) = load(path_of("interop", tmp_path)).values()
    assert row["ms"].keys() == set(interop.HEAD[1:])


@pytest.mark.usefixtures("emulated")
def test_arrays_share_memory() -> None:
    pytest.importorskip("torch")
    assert run("arrays.md")["grads"].keys() == {"q", "k", "v", "u"}
