"""What docs/series.md shows runs as it stands there."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mcore

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "series.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_forecast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write, use, _ = blocks("python")
    exec(write, {})
    Path("wave.yaml").write_text(blocks("yaml")[0])
    result = mcore.train(mcore.load_spec("wave.yaml"), "runs/wave")
    assert result.more["skill"] > 0.75
    scope: dict[str, Any] = {}
    exec(use, scope)
    assert np.isfinite(scope["forecast"]).all()
    assert scope["forecast"].shape == (1, 6)


def test_every_key_of_the_data_section_is_told() -> None:
    from mcore.spec.schema import SeriesSpec

    told = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    assert {*SeriesSpec.model_fields} - {"task"} <= told
