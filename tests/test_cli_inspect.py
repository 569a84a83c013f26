"""`mcore inspect` and `mcore evaluate`: what a trained model does, in text and as JSON."""

import json
from pathlib import Path

import pytest

import mcore
from mcore.cli import main

SPEC = {
    "model": {"width": 16, "heads": 2, "depth": 2, "blocks": ["memory", "parallel"]},
    "memory": {
        "recurrence": "gated_delta",
        "segmentation": {"kind": "adaptive", "rule": "surprise", "min": 3, "max": 9},
        "readout": "grm",
        "cache": {"limit": 2, "evict": "merge"},
    },
    "data": {"task": "text", "corpus": "python-stdlib", "length": 24, "eval_bytes": 200},
    "train": {"batch": 3},
    "backend": "reference",
}
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def snapshot(tmp_path: Path) -> str:
    path = tmp_path / "model.safetensors"
    mcore.compile(mcore.load_spec(SPEC)).save(path)
    return str(path)


def test_text(snapshot: str, capsys: Capture) -> None:
    assert main(["inspect", snapshot, "--row", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split(":")[0] for line in lines if not line.startswith("  ")]
    assert names == ["blocks.0.mixer", "blocks.1.mixer.memory"]
    _, _, cuts, text, gates = lines[:5]
    lengths = [int(n) for n in cuts.split(": ")[1].split()]
    assert sum(lengths) == 24
    assert text.count("|") >= len(lengths) - 1
    assert gates.startswith("  gates: online 0.")


def test_json_and_overrides(snapshot: str, capsys: Capture) -> None:
    change = "memory.segmentation={kind: constant, length: 10}"
    assert main(["inspect", snapshot, "--json", "--set", change]) == 0
    views = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [view["lengths"][0] for view in views] == [[10, 10, 4]] * 2
    for view in views:
        assert len(view["cached"]) == 2
        assert 0 < view["online"] < 1


def test_wrong_row(snapshot: str, capsys: Capture) -> None:
    assert main(["inspect", snapshot, "--row", "3"]) == 2
    assert capsys.readouterr().err == "mcore: --row 3: there are 3 rows, counted from 0\n"


def test_evaluate_as_trained_and_with_a_cache(
    snapshot: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["evaluate", snapshot]) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"{snapshot}: bits_per_byte ") and ", loss " in line
    plain = tmp_path / "plain.safetensors"
    changes = ["memory.readout=none", "memory.segmentation=none", "memory.cache={}"]
    mcore.compile(mcore.load_spec(SPEC, changes)).save(plain)
    losses = []
    for more in ([], ["memory.readout=moving_average", "memory.segmentation=constant"]):
        more = [*more, *(["data.length=96", "memory.segmentation.length=8"] if more else [])]
        sets = [word for change in more for word in ("--set", change)]
        assert main(["evaluate", str(plain), "--json", *sets]) == 0
        losses.append(json.loads(capsys.readouterr().out)["loss"])
    assert losses[0] != losses[1]
    assert main(["evaluate", str(plain), "--set", "memory.segmentation=constant",
                 "--set", "memory.readout=grm"]) == 2  # fmt: skip
    assert "overrides that keep all parameters" in capsys.readouterr().err
