"""Training on series: better than the simplest guess, the same bits when resumed, on every verb."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import same_runs

import mcore
import mcore.data
from mcore import training
from mcore.cli import main
from mcore.errors import DataError, InputError
from mcore.spec import load_spec
from mcore.spec.compile import compile as compile_model
from mcore.training.display import Quiet
from mcore.training.evaluate import Evaluation, evaluate
from mcore.training.value_errors import ValueErrors

MODEL = {"width": 16, "depth": 1, "heads": 2}
MEMORY = {
    "recurrence": "gated_delta",
    "segmentation": {"kind": "constant", "length": 8},
    "readout": "grm",
}
TRAIN = {"steps": 30, "batch": 8, "optimizer": {"kind": "adamw", "lr": 1e-2}, "log_every": 5}


def forecast(folder: Path, **changes: Any) -> dict[str, Any]:
    """A noisy wave of period 15 around 300, with holes, as a CSV file."""
    rng = np.random.default_rng(0)
    a = 300 + 20 * np.sin(2 * np.pi * np.arange(400) / 15) + rng.standard_normal(400)
    cells = ["" if t % 37 == 4 else f"{value:.3f}" for t, value in enumerate(a)]
    (folder / "wave.csv").write_text("a\n" + "\n".join(c or '""' for c in cells))
    data: dict[str, Any] = {"task": "series", "paths": [str(folder / "wave.csv")]}
    data["columns"] = ["a"]
    data |= {"target": ["a"], "horizon": 3, "length": 32}
    return {"model": MODEL, "memory": MEMORY, "data": data, "train": TRAIN} | changes


def rows(folder: Path, head: str, **changes: Any) -> dict[str, Any]:
    """24 rows of two channels: slow waves of class 0, fast ones of class 1."""
    rng, fast = np.random.default_rng(0), np.arange(24) % 2
    time = np.arange(20) * np.where(fast, 1.6, 0.5)[:, None] + rng.uniform(0, 6, (24, 1))
    x = np.stack([np.sin(time), np.cos(time)], axis=2)
    np.savez(folder / "rows.npz", x=x, fast=fast, size=50 + 10 * fast + x[:, 0, 0])
    data: dict[str, Any] = {"task": "series", "paths": [str(folder / "rows.npz")]}
    data["columns"] = ["a", "b"]
    data |= {"head": head, "length": 20, "validation": 0.3}
    data |= {"label": "fast", "classes": ["0", "1"]} if head == "classify" else {"label": "size"}
    return {"model": MODEL, "memory": MEMORY, "data": data, "train": TRAIN} | changes


def test_a_forecast_beats_persistence(tmp_path: Path) -> None:
    result = mcore.train(forecast(tmp_path, train=TRAIN | {"steps": 80}), tmp_path / "run")
    assert result.metric == "mae"
    assert result.more["skill"] > 0.5
    assert result.value < 0.5 * result.more["guess_mae"]
    assert result.more["skill"] == pytest.approx(1 - result.value / result.more["guess_mae"])


def test_classes_of_rows(tmp_path: Path) -> None:
    result = mcore.train(rows(tmp_path, "classify"), tmp_path / "run")
    assert (result.metric, result.value, result.more) == ("accuracy", 1.0, {})


def test_values_of_rows_beat_their_mean(tmp_path: Path) -> None:
    result = mcore.train(rows(tmp_path, "regress"), tmp_path / "run")
    assert result.more["skill"] > 0.5


def test_before_training_a_forecast_is_persistence(tmp_path: Path) -> None:
    spec = load_spec(forecast(tmp_path))
    model, task = compile_model(spec), mcore.data.make_task(spec.data, 8, 0)
    model.standardise(task.statistics())  # type: ignore[attr-defined]
    model.params["head.weight"][...] = 0
    found = evaluate(model, task.eval_batches(), "mae", 0)
    assert found.value == pytest.approx(found.more["guess_mae"], rel=1e-6)
    assert found.more["skill"] == pytest.approx(0, abs=1e-6)


def test_errors_are_those_of_the_data(tmp_path: Path) -> None:
    """Against a sum over single windows, with units and holes."""
    result = mcore.train(forecast(tmp_path, train=TRAIN | {"steps": 5}), tmp_path / "run")
    model = mcore.load(tmp_path / "run")
    task = mcore.data.make_task(model.spec.data, 1, 0)
    errors = []
    for tokens, labels in task.eval_batches():
        outputs, _ = model.forward(tokens)
        errors += (outputs - labels)[~np.isnan(labels)].tolist()
    assert len(errors) > 200
    assert result.value == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    assert result.more["rmse"] == pytest.approx(np.sqrt(np.square(errors).mean()), rel=1e-5)


class StopAt(Quiet):
    """Asks to stop, as Ctrl-C does, after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def advance(self, step: int) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGINT)

    def record(self, record: Mapping[str, Any]) -> None:
        """Nothing."""


@pytest.mark.parametrize("kind", ["forecast", "classify", "pieces"])
def test_stopped_and_resumed_ends_with_the_same_bits(tmp_path: Path, kind: str) -> None:
    train = {**TRAIN, "steps": 12, "eval_every": 5, "save_every": 4}
    if kind == "pieces":
        train["truncate"] = 7
    head = "forecast" if kind == "forecast" else "classify"
    content = forecast(tmp_path) if head == "forecast" else rows(tmp_path, head)
    spec = load_spec(content | {"train": train})
    training.run(spec, compile_model, tmp_path / "whole", display=Quiet())
    with pytest.raises(training.Interrupted):
        training.run(spec, compile_model, tmp_path / "run", display=StopAt(7))
    training.resume(tmp_path / "run", compile_model, Quiet())
    same_runs(tmp_path / "run", tmp_path / "whole")


def test_data_that_changed_are_refused(tmp_path: Path) -> None:
    spec = load_spec(forecast(tmp_path, train=TRAIN | {"steps": 6}))
    with pytest.raises(training.Interrupted):
        training.run(spec, compile_model, tmp_path / "run", display=StopAt(3))
    path = tmp_path / "wave.csv"
    path.write_text(path.read_text().replace("30", "31", 1))
    with pytest.raises(DataError, match="the data differ from when the run began"):
        training.resume(tmp_path / "run", compile_model, Quiet())


def test_the_statistics_come_with_the_model(tmp_path: Path) -> None:
    mcore.train(forecast(tmp_path, train=TRAIN | {"steps": 2}), tmp_path / "run")
    (tmp_path / "wave.csv").unlink()
    model = mcore.load(tmp_path / "run")
    assert 295 < model.fixed["input.mean"][0] < 305
    y = model.session().feed(np.full((4, 1), 300.0))
    assert y.shape == (4, 3)
    assert np.abs(y - 300).max() < 60


def test_every_verb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    monkeypatch.chdir(tmp_path)
    spec = forecast(tmp_path, train=TRAIN | {"steps": 4})
    Path("wave.yaml").write_text(yaml.safe_dump(spec))
    assert main(["train", "wave.yaml", "--out", "run", "--quiet"]) == 0
    assert "skill" in capsys.readouterr().out
    assert main(["evaluate", "run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("run: mae ")
    assert "guess_mae" in out
    assert main(["evaluate", "run", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["more"]) == {"rmse", "skill", "guess_mae"}
    assert main(["evaluate", "run", "--set", "data.test=[wave.csv]"]) == 0
    assert capsys.readouterr().out != out
    assert main(["inspect", "run"]) == 0
    assert "row 0: 8 8 8 8" in capsys.readouterr().out
    assert main(["plan", "wave.yaml"]) == 0
    assert "1 channels" in capsys.readouterr().out
    assert main(["warmup", "wave.yaml", "--quiet"]) == 0
    assert main(["spec", "check", "wave.yaml"]) == 0


def test_plan_counts_the_parameters(tmp_path: Path) -> None:
    for content in (forecast(tmp_path), rows(tmp_path, "classify")):
        plan = mcore.plan(content)
        model = mcore.compile(content)
        assert plan.parameters == sum(x.size for x in model.params.values())
        assert plan.state_bytes == model.state_bytes(plan.tokens)


def test_smaller_errors_are_better() -> None:
    first = Evaluation(1.0, "mae", 3.0, {"skill": 0.1})
    assert first.better_than(4.0)
    assert not first.better_than(3.0)


def test_errors_are_of_models_of_values(tmp_path: Path) -> None:
    model = mcore.compile({"model": MODEL})
    with pytest.raises(InputError, match="the model gives no real values"):
        ValueErrors().add(model, mcore.data.Batch(np.zeros((1, 2)), np.zeros((1, 2))))
