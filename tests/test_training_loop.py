"""The loop: deterministic, untouched by evaluation, and loud about NaN."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bigram import SPEC, Bigram, small_spec
from run_folders import metrics, same_runs

from mcore import training
from mcore.errors import DataError, NonFiniteError, SnapshotError
from mcore.snapshot import read_snapshot
from mcore.spec import Spec, load_spec
from mcore.training.display import Quiet
from mcore.training.interrupt import Interrupts

QUIET = Quiet()
Compile = Callable[[Spec], Bigram]


def _train(out: Path, compile_model: Compile = Bigram, **train: Any) -> training.Result:
    return training.run(small_spec(**train), compile_model, out, display=QUIET)


def _params(run: Path, name: str = "last") -> dict[str, bytes]:
    snapshot = read_snapshot(run / f"{name}.safetensors")
    return {key: array.tobytes() for key, array in snapshot.params.items()}


def test_learns_and_reports(tmp_path: Path) -> None:
    result = _train(tmp_path / "run", steps=60)
    lines = metrics(tmp_path / "run")
    assert result.loss < lines[0]["loss"]
    assert (result.step, result.metric, result.parameters, result.state_bytes) == (
        60,
        "accuracy",
        32 * 32 + 32,
        8,
    )
    assert result.value == lines[-1]["accuracy"]
    assert result.best == max(line["accuracy"] for line in lines if line["kind"] == "eval")
    assert result.tokens_per_second
    assert [line["step"] for line in lines if line["kind"] == "eval"] == [*range(6, 61, 6)]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, *range(3, 61, 3)]


def test_same_seed_same_run_other_seed_other_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _train(tmp_path / name)
    _train(tmp_path / "c", seed=1)
    same_runs(tmp_path / "a", tmp_path / "b")
    assert _params(tmp_path / "a") != _params(tmp_path / "c")


def test_evaluating_and_saving_change_nothing(tmp_path: Path) -> None:
    _train(tmp_path / "often", eval_every=1, save_every=1, log_every=1)
    _train(tmp_path / "never", eval_every=0, save_every=0, log_every=100)
    assert _params(tmp_path / "often") == _params(tmp_path / "never")
    assert [line["kind"] for line in metrics(tmp_path / "never")] == ["train", "train", "eval"]


def test_best_snapshot_is_of_the_best_evaluation(tmp_path: Path) -> None:
    result = _train(tmp_path / "run", eval_every=2)
    best = read_snapshot(tmp_path / "run" / "best.safetensors")
    evaluations = [line for line in metrics(tmp_path / "run") if line["kind"] == "eval"]
    first = next(line for line in evaluations if line["accuracy"] == result.best)
    assert (best.step, best.kind) == (first["step"], "model")
    assert best.state["evaluation"]["value"] == result.best


class Poisoned(Bigram):
    """Gradients that stop being finite at step 7."""

    bad = np.nan

    def loss_backward(self, saved: Any, /) -> dict[str, np.ndarray]:
        grads = super().loss_backward(saved)
        if self.steps == 7:
            grads["bias"][3] = self.bad
        return grads


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_stops_and_names_step_and_parameter(
    tmp_path: Path, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Poisoned, "bad", bad)
    with pytest.raises(NonFiniteError, match=r"step 7: .* the gradient of bias"):
        _train(tmp_path / "run", Poisoned)
    snapshot = read_snapshot(tmp_path / "run" / "last.safetensors")
    assert snapshot.step == 4
    assert all(np.isfinite(array).all() for array in snapshot.params.values())


def test_nan_loss_is_named(tmp_path: Path) -> None:
    def broken(spec: Spec) -> Bigram:
        model = Bigram(spec)
        model.params["table"][:] = np.inf
        return model

    with pytest.raises(
        NonFiniteError, match=r"step 1: .*the loss \(nan\) and the gradient of table"
    ):
        _train(tmp_path / "run", broken)


def test_damaged_last_falls_back_to_previous(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _train(tmp_path / "whole")
    _train(tmp_path / "run")
    run = tmp_path / "run"
    (run / "result.json").unlink()
    (run / "last.safetensors").write_bytes(b"damaged")
    training.resume(run, Bigram, QUIET)
    told = capsys.readouterr().err
    assert "cut short or not a snapshot" in told
    assert "going on from" in told
    same_runs(run, tmp_path / "whole")


def test_two_damaged_snapshots_are_an_error(tmp_path: Path) -> None:
    _train(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    for name in ("last", "previous"):
        (tmp_path / "run" / f"{name}.safetensors").write_bytes(b"damaged")
    with pytest.raises(SnapshotError, match=r"previous\.safetensors"):
        training.resume(tmp_path / "run", Bigram, QUIET)


def test_resume_refuses_what_is_not_the_run(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="not the folder of a run"):
        training.resume(tmp_path, Bigram, QUIET)
    _train(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(info | {"data": "other"}))
    with pytest.raises(DataError, match="the data differ"):
        training.resume(tmp_path / "run", Bigram, QUIET)
    (tmp_path / "run" / "run.json").write_text(json.dumps(info))
    spec = tmp_path / "run" / "spec.yaml"
    spec.write_text(spec.read_text().replace("lr: 0.05", "lr: 0.06"))
    with pytest.raises(SnapshotError, match="not the spec that the run began with"):
        training.resume(tmp_path / "run", Bigram, QUIET)


def test_other_versions_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _train(tmp_path / "run")
    run = tmp_path / "run"
    (run / "result.json").unlink()
    info = json.loads((run / "run.json").read_text())
    info["versions"]["numpy"] = "1.0"
    (run / "run.json").write_text(json.dumps(info))
    training.resume(run, Bigram, QUIET)
    assert "versions differ" in capsys.readouterr().err


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(SnapshotError, match=r"not empty; .*--resume .*--out"):
        _train(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_runs_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        result = training.run(small_spec(steps=1), Bigram, display=QUIET)
        assert result.run == Path("runs", f"mqar-{number}")
    assert training.run(small_spec(steps=1), Bigram, None, "x", QUIET).run == Path("runs/x-1")


def test_variants_are_compared_and_finished_ones_kept(tmp_path: Path) -> None:
    spec = load_spec({**SPEC, "compare": {"hot": {"train.optimizer.lr": 0.5}, "cold": {}}})
    result = training.run(spec, Bigram, tmp_path / "run", display=QUIET)
    assert list(result.comparison) == ["hot", "cold"]
    assert result.comparison["hot"].run == tmp_path / "run" / "compare" / "hot"
    cold = tmp_path / "run" / "compare" / "cold"
    assert _params(cold) == _params(tmp_path / "run")
    assert _params(cold) != _params(tmp_path / "run" / "compare" / "hot")
    (cold / "result.json").unlink()

    def compile_cold(spec: Spec) -> Bigram:
        assert spec.train.optimizer.lr == 0.05
        return Bigram(spec)

    again = training.resume(tmp_path / "run", compile_cold, QUIET)
    assert again.comparison["hot"] == result.comparison["hot"]
    assert again.comparison["cold"].value == result.comparison["cold"].value


def test_what_cannot_run_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    paths = {"data": {"task": "text", "paths": [str(tmp_path / "*.txt")], "length": 8}}
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(DataError):
        training.run(load_spec({**SPEC, **paths}), Bigram, tmp_path / "run", display=QUIET)
    assert not (tmp_path / "run").exists()


def test_text_is_judged_in_bits_per_byte_beside_compressors(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"to be or not to be, that is the question " * 40)
    data = {"task": "text", "paths": [str(tmp_path / "a.txt")], "length": 16}
    spec = load_spec({**SPEC, "data": data, "compare": {}})
    result = training.run(spec, Bigram, tmp_path / "run", display=QUIET)
    assert result.metric == "bits_per_byte"
    assert result.value == pytest.approx(result.loss / np.log(2))
    assert result.best == min(
        line["bits_per_byte"] for line in metrics(tmp_path / "run") if line["kind"] == "eval"
    )
    assert [name for name, _ in result.compression] == ["zlib -9", "bz2 -9", "lzma -9e"]
    assert training.resume(tmp_path / "run", Bigram, QUIET) == result


def test_a_signal_during_evaluation_loses_nothing(tmp_path: Path) -> None:
    _train(tmp_path / "whole")

    class Signalling(Bigram):
        """Sends Ctrl-C in the middle of the first evaluation, which is after step 6."""

        def loss(
            self, tokens: Any, labels: Any, state: Any = None, /, *, document: Any = None
        ) -> Any:
            if self.steps == 6 and not self.slow:
                self.slow = 1e-9
                os.kill(os.getpid(), signal.SIGINT)
            return super().loss(tokens, labels)

    with pytest.raises(training.Interrupted, match="after step 6; resume with") as caught:
        _train(tmp_path / "run", Signalling)
    assert caught.value.exit_code == 130

    class Broken(Bigram):
        """Breaks off in the next step, after that evaluation and before a save."""

        def loss_backward(self, saved: Any, /) -> dict[str, np.ndarray]:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        training.resume(tmp_path / "run", Broken, QUIET)
    assert metrics(tmp_path / "run")[-1]["kind"] == "eval"
    training.resume(tmp_path / "run", Bigram, QUIET)
    same_runs(tmp_path / "run", tmp_path / "whole")


def test_second_signal_ends_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.signal == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
