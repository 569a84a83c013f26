"""Series beside simple answers: movements of a smartwatch, vowels, and a gait some steps ahead.

    python -m benchmarks motion [--seeds 0 1 2 3 4] [--wheels WHEEL ...]

Trains `specs/motion.yaml` on the published split of BasicMotions, the same network on that of
JapaneseVowels, and a forecast of the gait recording that aeon carries, for several seeds; writes
all tables to `benchmarks/results/motion.md`. Some minutes on two cores.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import mcore
from benchmarks import series_baselines as simple
from benchmarks.machine import machine
from benchmarks.motion_data import FOLDER, GAIT, MOTIONS, VOWELS, fetch, present
from benchmarks.results import RESULTS, table
from mcore.data.series import Wanted, read_paths
from mcore.errors import DataError
from mcore.spec import Spec
from mcore.spec.schema import SeriesSpec

ROOT = Path(__file__).resolve().parents[1]
ORDERS = (8, 32)
"""Values that the linear autoregressions see."""

COLUMNS = [
    f"{place}_{way}"
    for place in ("ankle", "leg", "trunk")
    for way in ("horiz_fwd", "vert", "horiz_lateral")
]
FORECAST: dict[str, Any] = {
    "model": {"width": 48, "depth": 2, "heads": 2},
    "memory": {
        "recurrence": "gated_delta",
        "segmentation": {"kind": "constant", "length": 64},
        "readout": "grm",
    },
    "data": {
        "task": "series",
        "paths": [str(FOLDER / GAIT)],
        "columns": COLUMNS,
        "target": ["ankle_horiz_fwd", "leg_horiz_fwd", "trunk_horiz_fwd"],
        "horizon": 8,
        "length": 256,
        "validation": 0.2,
        "loss": "mae",
    },
    "train": {"steps": 400, "batch": 16, "optimizer": {"kind": "adamw", "lr": 5e-3}},
}


def split_of(spec: Spec) -> tuple[simple.Split, simple.Labels]:
    """The rows of a spec that classifies, and the classes of its test rows."""
    data = _data(spec)
    sides = [read_paths(paths, Wanted(data.columns)) for paths in (data.paths, data.test)]
    x, test = ([row.x for row in rows] for rows in sides)
    y, truth = (np.array([data.classes.index(str(row.label)) for row in rows]) for rows in sides)
    return simple.Split(x, y, test), truth


def class_rows(name: str, seeds: list[int], folder: Path) -> list[list[str]]:
    """A row for each way to classify: accuracy on the test rows, for each seed."""
    specs = [SETS[name](seed) for seed in seeds]
    split, truth = split_of(specs[0])
    rows = []
    for what, answer in simple.CLASSIFIERS.items():
        found = answer(split)
        if found is not None:
            rows.append([what, *[f"{(found == truth).mean():.3f}"] * (len(seeds) + 1)])
    results = [
        mcore.train(spec, folder / f"{name}-{seed}").value
        for spec, seed in zip(specs, seeds, strict=True)
    ]
    cells = [f"{value:.3f}" for value in (*results, float(np.mean(results)))]
    return [*rows, ["mcore", *cells]]


def forecast_rows(seeds: list[int], folder: Path) -> list[list[str]]:
    """A row for each way to forecast: mae, rmse and skill on the last fifth of the recording."""
    ahead = _ahead()
    answers = {"persistence": simple.persistence(ahead)}
    answers |= {
        f"linear autoregression of {order} steps": simple.autoregression(ahead, order)
        for order in ORDERS
    }
    rows = [[name, *_scores(ahead, answer)] for name, answer in answers.items()]
    for seed in seeds:
        spec = mcore.load_spec(FORECAST, [f"train.seed={seed}"])
        result = mcore.train(spec, folder / f"gait-{seed}")
        more = result.more
        cells = [f"{result.value:.1f}", f"{more['rmse']:.1f}", f"{more['skill']:.3f}"]
        rows.append([f"mcore, seed {seed}", *cells])
    return rows


def _ahead() -> simple.Ahead:
    data = _data(mcore.load_spec(FORECAST))
    (series,) = read_paths(data.paths, Wanted(data.columns))
    targets = tuple(map(data.columns.index, data.target))
    tokens = len(series.x)
    return simple.Ahead(series.x, tokens - round(data.validation * tokens), targets, data.horizon)


def _scores(ahead: simple.Ahead, answer: simple.Floats) -> list[str]:
    held = slice(ahead.cut, None)
    wanted, last = simple.following(ahead)[held], simple.persistence(ahead)[held]
    scale = ahead.x[: ahead.cut, list(ahead.targets)].std(axis=0)
    error = np.abs(answer[held] - wanted)
    skill = 1 - np.nansum(error / scale) / np.nansum(np.abs(last - wanted) / scale)
    rmse = float(np.sqrt(np.nanmean(error**2)))
    return [f"{np.nanmean(error):.1f}", f"{rmse:.1f}", f"{skill:.3f}"]


def _data(spec: Spec) -> SeriesSpec:
    assert isinstance(spec.data, SeriesSpec)
    return spec.data


def _motions(seed: int) -> Spec:
    return mcore.load_spec(ROOT / "specs" / "motion.yaml", [f"train.seed={seed}", *_paths(MOTIONS)])


def _vowels(seed: int) -> Spec:
    """The network of the other preset; rows of 7 to 29 tokens, twelve channels, nine speakers."""
    overrides = [
        f"data.columns={[f'c{n}' for n in range(1, 13)]}",
        "data.classes=[1, 2, 3, 4, 5, 6, 7, 8, 9]",
        "data.length=29",
        "memory.segmentation.length=8",
        "train.steps=400",
        "train.batch=32",
    ]
    seeded = [f"train.seed={seed}", *_paths(VOWELS), *overrides]
    return mcore.load_spec(ROOT / "specs" / "motion.yaml", seeded)


def _paths(names: tuple[str, str]) -> list[str]:
    train, test = (FOLDER / name for name in names)
    return [f"data.paths=[{train}]", f"data.test=[{test}]"]


SETS: dict[str, Callable[[int], Spec]] = {"BasicMotions": _motions, "JapaneseVowels": _vowels}


def tables(seeds: list[int], folder: Path) -> list[str]:
    """Markdown: a table for each set of rows, and one for the forecast."""
    head, lines = ["", *(f"seed {seed}" for seed in seeds), "mean"], list[str]()
    for which in SETS:
        lines += ["", f"{which}: share of the test rows whose class is right.", ""]
        lines += table(head, class_rows(which, seeds, folder))
    lines += [
        "",
        "Three accelerations of a walking person, 1 to 8 steps of 1/64 s ahead, on the last",
    ]
    lines += ["fifth of the recording.", ""]
    return lines + table(["", "mae", "rmse", "skill"], forecast_rows(seeds, folder))


def main() -> None:
    """Fetch what is missing, train, write and print the tables."""
    parser = argparse.ArgumentParser(description="Series beside simple answers.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--wheels", type=Path, nargs="*", default=[], help="of aeon and sktime")
    given = parser.parse_args()
    try:
        if given.wheels or not present():
            fetch(given.wheels)
    except DataError as error:
        raise SystemExit(str(error)) from None
    if not present():
        raise SystemExit(
            "the gait recording is in aeon: pip download --no-deps aeon, --wheels aeon*"
        )
    with tempfile.TemporaryDirectory() as name:
        lines = [f"{machine()}.", *tables(given.seeds, Path(name))]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "motion.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
