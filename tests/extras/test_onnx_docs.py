"""What docs/onnx.md shows runs as it stands there, on a smaller model."""

import re
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="pip install 'mcore[onnx]'")
pytest.importorskip("onnxruntime", reason="pip install onnxruntime")

import mcore
from mcore.cli import main

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "onnx.md").read_text()
SMALL = ["model.width=16", "model.depth=1", "model.heads=2", "backend=reference"]


def test_snippets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/text").mkdir(parents=True)
    model = mcore.compile(mcore.load_spec(ROOT / "specs" / "text.yaml", SMALL))
    model.save("runs/text/best.safetensors")
    (command,) = re.findall(r"^mcore (export .*)$", TEXT, re.MULTILINE)
    assert main(command.split()) == 0
    told = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert told[:2] == ["runs/text/model.step.onnx", "runs/text/model.sequence.onnx"]
    stream, rows, metadata, bare = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    for snippet in (stream, rows, metadata, bare):
        exec(snippet, {})
    out = capsys.readouterr().out
    assert out.startswith("import os\nimport sys\n\nclass ")
    assert "(1, 33, 256)" in out
    assert "blocks.0.mixer.memory.checkpoints state ['B', 64, 2, 8, 8]" in out
    assert float(out.splitlines()[-1]) < 1e-5


def test_options_that_are_named_exist() -> None:
    from typer.testing import CliRunner

    from mcore.cli.app import app

    shown = CliRunner().invoke(app, ["export", "--help"], env={"COLUMNS": "200"}).output
    for option in set(re.findall(r"`(--[a-z-]+)", TEXT)):
        assert option in shown
