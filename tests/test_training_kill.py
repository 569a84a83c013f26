"""A run that is killed at any moment and resumed ends as the one that was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_folders import metrics, same_runs

SCRIPT = Path(__file__).parent / "bigram.py"
PARTS = (".", "compare/hot")


def _run(run: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(run), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    done = _run(run)
    assert done.returncode == 0, done.stderr
    return run


def _finish_and_compare(run: Path, whole: Path) -> None:
    done = _run(run, "--resume")
    assert done.returncode == 0, done.stderr
    for part in PARTS:
        same_runs(run / part, whole / part)


def test_killed_at_many_renames(whole: Path, tmp_path: Path) -> None:
    """Renames are where a save takes effect; one session after another dies just before one."""
    run = tmp_path / "run"
    assert _run(run, "--kill-rename", "3").returncode == -signal.SIGKILL
    for number in (4, 3, 6, 8):
        assert _run(run, "--resume", "--kill-rename", str(number)).returncode == -signal.SIGKILL
    _finish_and_compare(run, whole)


def test_killed_in_the_middle_of_steps(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert _run(run, "--kill-step", "3").returncode == -signal.SIGKILL
    for number in (6, 15):
        assert _run(run, "--resume", "--kill-step", str(number)).returncode == -signal.SIGKILL
    _finish_and_compare(run, whole)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_and_say_how_to_go_on(
    whole: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, str(SCRIPT), str(run), "--slow", "0.03"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not ((run / "metrics.jsonl").exists() and len(metrics(run)) >= 2):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        _, told = process.communicate(timeout=30)
    assert process.returncode == code
    assert told.rstrip().endswith(f"resume with: mcore train --resume {run}")
    assert (run / "last.safetensors").exists()
    _finish_and_compare(run, whole)


def test_killed_from_outside(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for wait, option in ((2, ()), (7, ("--resume",))):
        command = [sys.executable, str(SCRIPT), str(run), "--slow", "0.01", *option]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 30
            while not (run / "metrics.jsonl").exists() or _lines(run) < wait:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            os.kill(process.pid, signal.SIGKILL)
    _finish_and_compare(run, whole)


def _lines(run: Path) -> int:
    return (run / "metrics.jsonl").read_bytes().count(b"\n")
