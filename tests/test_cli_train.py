"""`mcore train` with the real model: runs, kills, resumes, refuses."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_folders import metrics, same_runs

from mcore.cli import main

SPEC = """
model: {width: 16, depth: 1, heads: 2}
memory: {recurrence: gated_delta, segmentation: {kind: constant, length: 8}, readout: grm}
data: {task: mqar, vocab: 32, length: 24, pairs: 3, eval_examples: 16}
train: {steps: 24, batch: 4, save_every: 5, eval_every: 8, log_every: 2}
"""
TEXT = """
data: {task: text, paths: [corpus.txt], length: 24, eval_bytes: 500}
memory: {segmentation: logarithmic, readout: {kind: ssc, top_k: 1}}
model: {width: 16, depth: 2, heads: 2, tied: false}
train: {steps: 20, batch: 3, save_every: 4, eval_every: 6, log_every: 2}
backend: reference
"""
PARALLEL = "backend: {kind: numba, threads: 2}\n"
RUNS = {"mqar": SPEC + "backend: reference\n", "parallel": SPEC + PARALLEL, "text": TEXT}

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in RUNS.items():
        Path(f"{name}.yaml").write_text(text)
    Path("corpus.txt").write_bytes(b"the quick brown fox jumps over the lazy dog. " * 60)
    return tmp_path


@pytest.mark.parametrize("name", RUNS)
def test_killed_and_resumed_ends_with_the_same_bits(folder: Path, name: str) -> None:
    assert main(["train", f"{name}.yaml", "--out", "whole", "--quiet"]) == 0
    run, command = Path("run"), [sys.executable, "-m", "mcore.cli", "train"]
    for options, lines in ((f"{name}.yaml --out run", 4), ("--resume run", 9)):
        with subprocess.Popen([*command, *options.split()], stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 240
            while not (run / "metrics.jsonl").exists() or len(metrics_so_far(run)) < lines:
                assert time.monotonic() < deadline
                assert process.poll() is None or lines <= len(metrics_so_far(run))
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
    assert main(["train", "--resume", "run", "--quiet"]) == 0
    same_runs(run, Path("whole"))


def metrics_so_far(run: Path) -> list[bytes]:
    """Whole lines."""
    return (run / "metrics.jsonl").read_bytes().split(b"\n")[:-1]


def test_ctrl_c_saves_and_returns_130(folder: Path, capsys: Capture) -> None:
    changes = ["--set", "train.steps=100000", "--set", "train.save_every=0"]
    command = [sys.executable, "-m", "mcore.cli", "train", "mqar.yaml", "--out", "run", *changes]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        while "run 4/100000" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told.splitlines()[-1].endswith("resume with: mcore train --resume run")
    assert Path("run/last.safetensors").exists()


def test_results_on_stdout_progress_on_stderr(folder: Path, capsys: Capture) -> None:
    assert main(["train", "mqar.yaml", "--set", "train.steps=4"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("runs/mqar-1: accuracy 0.")
    assert shown.err.startswith("mqar-1: started, 4 steps\n")
    assert [line["step"] for line in metrics(Path("runs/mqar-1"))] == [1, 2, 4, 4]


def test_json(folder: Path, capsys: Capture) -> None:
    assert main(["train", "text.yaml", "--json", "--set", "train.steps=2"]) == 0
    shown = capsys.readouterr()
    records = [json.loads(line) for line in shown.out.splitlines()]
    assert [record["kind"] for record in records] == ["start", "train", "train", "eval", "result"]
    assert records[-1]["compression"][0][0] == "zlib -9"
    assert shown.err == ""


def test_variants(folder: Path, capsys: Capture) -> None:
    Path("mqar.yaml").write_text(RUNS["mqar"] + "compare: {plain: {memory.readout: none}}\n")
    assert main(["train", "mqar.yaml", "-q", "--set", "train.steps=3", "--out", "r"]) == 0
    first = capsys.readouterr().out
    assert [line.split()[0] for line in first.splitlines()] == ["r:", "run", "r", "plain"]
    assert main(["train", "--resume", "r", "-q"]) == 0
    assert capsys.readouterr().out == first


def test_refusals(folder: Path, capsys: Capture) -> None:
    cases = [
        ([], "name a spec FILE"),
        (["mqar.yaml", "--resume", "x"], "together with --resume"),
        (["--set", "a=b", "--resume", "x"], "together with --resume"),
        (["--resume", "nowhere"], "nowhere: is not the folder of a run"),
        (["mqar.yaml", "--set", "train.stepz=1"], "train.stepz"),
        (["mqar.yaml", "--out", "."], "is not empty"),
        (["mqar.yaml", "--out", "corpus.txt"], "corpus.txt: cannot be made"),
    ]
    for arguments, told in cases:
        assert main(["train", *arguments]) == 2
        shown = capsys.readouterr()
        assert told in " ".join(shown.err.replace("│", " ").split())
        assert "Traceback" not in shown.err
        assert shown.out == ""


def test_nan_is_an_error_with_a_place(folder: Path, capsys: Capture) -> None:
    hot = ["--set", "train.optimizer.lr=1e30", "--set", "train.warmup=0"]
    assert main(["train", "mqar.yaml", "-q", "--out", "run", *hot]) == 1
    told = capsys.readouterr().err
    assert told.startswith("mcore: step ")
    assert "NaN or infinity in " in told


def test_help_has_examples(capsys: Capture) -> None:
    assert main(["train", "--help"]) == 0
    assert "--resume runs/short" in capsys.readouterr().out
