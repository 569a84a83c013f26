"""Every recall preset for 200 steps: does it learn, and how long does a step take?

    python -m benchmarks.presets --only gla mamba2

Trains each of `specs/*.yaml` whose task is recall, on its own task with its own learning rate, and
writes `benchmarks/results/presets-*.json` and `.md`; with `--only`, the other rows stay as they
were. Losses are means over the first 10 and over the last 20 steps. A model that has learnt which
tokens are values, and nothing else, has the loss of `guess`: ln(vocab / 2), and is marked.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import mcore
from benchmarks.machine import blas, machine
from mcore.data import make_task
from mcore.spec import Spec, read_spec
from mcore.training.optim import AdamW
from mcore.training.step import take_step

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
NEEDED = 0.3
"""Nats by which the loss must have fallen."""

HEAD = [
    "| preset | loss at start | at step {steps} | guess | seconds | ms per step |",
    "| --- | --- | --- | --- | --- | --- |",
]


class Run(NamedTuple):
    """One preset's training."""

    start: float
    end: float
    guess: float
    seconds: float
    ms: float

    @property
    def fell(self) -> bool:
        """Whether the loss is clearly less than at the start."""
        return self.end < self.start - NEEDED

    @property
    def recalls(self) -> bool:
        """Whether it is clearly less than that of guessing among the values, too."""
        return self.end < self.guess - NEEDED

    def line(self, name: str) -> str:
        """A row of the table."""
        mark = "" if self.recalls else " (guesses)"
        losses = f"{self.start:.2f} | {self.end:.2f}{mark} | {self.guess:.2f}"
        return f"| {name} | {losses} | {self.seconds:.0f} | {self.ms:.1f} |"


def recall_presets() -> dict[str, Path]:
    """Name -> file of the presets whose task is recall."""
    paths = sorted((ROOT / "specs").glob("*.yaml"))
    return {p.stem: p for p in paths if read_spec(p).data.task == "mqar"}


def train(spec: Spec) -> Run:
    """Train one spec; the first step, which compiles, does not count for the time of a step."""
    model = mcore.compile(spec)
    task = make_task(spec.data, spec.train.batch, spec.train.seed)
    chosen = spec.train.optimizer
    optimizer = AdamW(
        model.params,
        model.no_decay,
        betas=chosen.betas,
        eps=chosen.eps,
        weight_decay=chosen.weight_decay,
    )
    losses, ends = [], [time.perf_counter()]
    for step in range(1, spec.train.steps + 1):
        taken = take_step(step, task.train_batch(step), model, optimizer, spec.train)
        losses.append(taken.loss.value)
        ends.append(time.perf_counter())
    guess, ms = math.log(spec.data.vocab / 2), 1e3 * float(np.median(np.diff(ends)[1:]))
    first, last = float(np.mean(losses[:10])), float(np.mean(losses[-20:]))
    return Run(first, last, guess, ends[-1] - ends[0], ms)


def known(path: Path, steps: int) -> dict[str, Any]:
    """The rows that an earlier run of as many steps has left."""
    found = json.loads(path.read_text()) if path.exists() else {}
    return found.get("runs", {}) if found.get("steps") == steps else {}


def write(rows: dict[str, Run], steps: int) -> list[str]:
    """Put rows into the files, and return the table of all that are in there."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"presets-{blas()}.json"
    every = known(path, steps) | {name: row._asdict() for name, row in rows.items()}
    every = {name: every[name] for name in recall_presets() if name in every}
    found = {"machine": machine(), "steps": steps, "runs": every}
    path.write_text(json.dumps(found, indent=2) + "\n")
    lines = [f"{steps} steps of each preset; {machine()}.", ""]
    lines += [line.format(steps=steps) for line in HEAD]
    lines += [Run(**row).line(name) for name, row in every.items()]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")
    return lines


def main() -> None:
    """Train the presets, print and write the table; exit code 1 if a loss did not fall."""
    presets = recall_presets()
    parser = argparse.ArgumentParser(description="Train every recall preset for a few steps.")
    parser.add_argument("--only", nargs="+", choices=presets, default=list(presets), metavar="NAME")
    parser.add_argument("--steps", type=int, default=200)
    given = parser.parse_args()
    rows, lines = {}, list[str]()
    for name in given.only:
        overrides = [f"train.steps={given.steps}", "compare={}"]
        rows[name] = train(mcore.load_spec(presets[name], overrides))
        print(rows[name].line(name), flush=True)
        lines = write(rows, given.steps)
    print("\n".join(lines))
    raise SystemExit(not all(row.fell for row in rows.values()))


if __name__ == "__main__":
    main()
