"""The presets: short, explained, valid, and each takes a few steps."""

from pathlib import Path

import numpy as np
import pytest

import mcore
from mcore.data import make_task
from mcore.recurrence import RULES

FOLDER = Path(__file__).resolve().parents[1] / "specs"
SERIES = [FOLDER / "motion.yaml"]
"""Presets whose data are not on every machine: `test_series_presets.py`."""

SPECS = sorted({*FOLDER.glob("*.yaml")} - {*SERIES})


def test_every_recurrence_has_a_preset() -> None:
    others = {"quickstart", "text", "transformer", "sliding_window", "log_linear", "hybrid"}
    assert {path.stem for path in SPECS} >= {*RULES, *others}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_short_and_explained(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) < 40
    assert lines[0].startswith("# ")


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_loss_falls_within_a_few_steps(path: Path) -> None:
    small = ("model.width=32", "model.depth=1", "data.length=64", "backend=reference")
    shared = [s for s in small if "depth" not in s or "blocks" not in path.read_text()]
    pairs = [] if "text" in path.stem else ["data.pairs=4"]
    spec = mcore.load_spec(path, [*shared, *pairs, "model.heads=2", "model.key=4", "compare={}"])
    model = mcore.compile(spec)
    batch = make_task(spec.data, 4, 0).train_batch(0)
    losses = []
    for _ in range(3):
        loss, saved = model.loss(batch.tokens, batch.labels)
        for name, gradient in model.loss_backward(saved).items():
            model.params[name] -= np.asarray(0.05 * np.sign(gradient), model.params[name].dtype)
        losses.append(loss.value)
    assert losses[1] < losses[0]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_plan_counts_the_parameters(path: Path) -> None:
    spec = mcore.load_spec(path)
    plan = mcore.plan(spec)
    assert plan.parameters == sum(x.size for x in mcore.compile(spec).params.values())
    assert str(plan.tokens) in str(plan)


def test_the_plan_names_what_stands_side_by_side() -> None:
    plan = mcore.plan(mcore.load_spec(SPECS[0].with_name("hybrid.yaml")))
    whats = {row.name: row.what for row in plan.rows}
    assert whats["blocks.1.mixer"] == "memory + attention, gated"
    assert whats["blocks.2.mixer"] == "attention"
    assert any(form.startswith("gated_delta.scan") for form in plan.forms)


def test_the_plan_shows_the_dial() -> None:
    plan = mcore.plan(mcore.load_spec(SPECS[0].with_name("quickstart.yaml")))
    costs = [row.flops for row in plan.dial]
    assert costs == sorted(costs)
    assert [row.segments for row in plan.dial] == [1, 2, 4, 8, 16, 32, 64]


def test_the_plan_notes_a_memory_that_forgets_at_each_cut() -> None:
    path = SPECS[0].with_name("quickstart.yaml")
    assert not mcore.plan(mcore.load_spec(path)).notes
    (note,) = mcore.plan(mcore.load_spec(path, ["memory.readout=none"])).notes
    assert "forgotten" in note


def test_the_equal_bytes_control_has_as_many_numbers_as_the_cache() -> None:
    from mcore.model.memory_mixer import MemoryMixer
    from mcore.spec import variants

    spec = mcore.load_spec(SPECS[0].with_name("quickstart.yaml"))
    numbers = []
    for each in (spec, variants(spec)["equal-bytes"]):
        (mixer, *_) = [
            part.part
            for part in mcore.compile(each).layout.parts.values()
            if isinstance(part.part, MemoryMixer)
        ]
        numbers.append(mixer.cost.state_bytes(spec.data.length, 4))
    assert numbers[0] == numbers[1]
