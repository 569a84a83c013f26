"""The quickstart for several seeds: how much the cache is worth, against three controls.

    python -m benchmarks.quickstart --seeds 0 1 2

Trains `specs/quickstart.yaml` and the variants it compares, and writes one table for all seeds to
`benchmarks/results/quickstart.md`. About a minute a seed on two cores.
"""

import argparse
import tempfile
from pathlib import Path

import mcore
from benchmarks.machine import machine
from mcore.training import Result

ROOT = Path(__file__).resolve().parents[1]
TARGET = 0.2
"""By how much the cache must beat the same model without one, for every seed."""


def train(seed: int, folder: Path) -> dict[str, Result]:
    """Results of the main run (`grm`) and of its variants, by name."""
    spec = mcore.load_spec(ROOT / "specs" / "quickstart.yaml", [f"train.seed={seed}"])
    result = mcore.train(spec, folder / f"seed-{seed}")
    return {"grm": result, **result.comparison}


def table(runs: dict[int, dict[str, Result]]) -> list[str]:
    """Markdown: a row per variant, accuracy for each seed, sizes, mean speed."""
    head = [*(f"seed {seed}" for seed in runs), "parameters", "state bytes", "tokens/s"]
    lines = ["| | " + " | ".join(head) + " |", "| --- |" + " --- |" * len(head)]
    for name, first in next(iter(runs.values())).items():
        each = [results[name] for results in runs.values()]
        speed = sum(result.tokens_per_second or 0 for result in each) / len(each)
        cells = [f"{result.value:.3f}" for result in each]
        cells += [f"{first.parameters:,}", f"{first.state_bytes:,}", f"{speed:,.0f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Train all seeds, write and print the table; exit code 1 if the cache is worth too little."""
    parser = argparse.ArgumentParser(description="Train the quickstart for several seeds.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    with tempfile.TemporaryDirectory() as folder:
        runs = {seed: train(seed, Path(folder)) for seed in seeds}
    lines = [f"Accuracy on held-out rows; {machine()}.", "", *table(runs)]
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    (results / "quickstart.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    worth = [results["grm"].value - results["none"].value for results in runs.values()]
    print("worth of the cache: " + ", ".join(f"{gain:.3f}" for gain in worth))
    raise SystemExit(min(worth) < TARGET)


if __name__ == "__main__":
    main()
