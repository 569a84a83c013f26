"""Presets of series, on made-up data in the format of those that they are for."""

from pathlib import Path

import numpy as np
import pytest

import mcore
from mcore.spec import read_spec

FOLDER = Path(__file__).resolve().parents[1] / "specs"
HEAD = "@dimensions 6\n@classLabel true Standing Running Walking Badminton\n@data\n"
CLASSES = ("Standing", "Running", "Walking", "Badminton")


def made_up(path: Path, rows: int) -> str:
    """A row per line; classes differ in how fast and how far channels move."""
    rng, lines = np.random.default_rng(rows), []
    for row in range(rows):
        size = 0.1 + 3 * (row % 4)
        channels = size * np.sin((row % 4) * np.arange(100) + rng.uniform(0, 6, (6, 1)))
        fields = [",".join(f"{value:.4f}" for value in channel) for channel in channels]
        lines.append(":".join([*fields, CLASSES[row % 4]]))
    path.write_text(HEAD + "\n".join(lines) + "\n")
    return f"[{path}]"


def test_short_explained_and_valid() -> None:
    lines = (FOLDER / "motion.yaml").read_text().splitlines()
    assert len(lines) < 40
    assert lines[0].startswith("# ")
    assert mcore.plan(read_spec(FOLDER / "motion.yaml")).parameters > 1000


def test_motion_learns(tmp_path: Path) -> None:
    paths, test = made_up(tmp_path / "train.ts", 16), made_up(tmp_path / "test.ts", 12)
    overrides = [f"data.paths={paths}", f"data.test={test}", "train.steps=30", "train.batch=8"]
    spec = mcore.load_spec(FOLDER / "motion.yaml", [*overrides, "train.optimizer.lr=1e-2"])
    assert mcore.train(spec, tmp_path / "run").value > 0.7


@pytest.mark.parametrize("missing", ["paths", "test"])
def test_data_that_are_not_here(missing: str, tmp_path: Path) -> None:
    there = made_up(tmp_path / "train.ts", 4)
    other = "test" if missing == "paths" else "paths"
    with pytest.raises(mcore.SpecError, match=rf"data\.{missing}\.0: no file or folder"):
        overrides = [f"data.{other}={there}", f"data.{missing}=[nowhere.ts]"]
        mcore.load_spec(FOLDER / "motion.yaml", overrides)
