"""The command line: exit codes, what goes to stdout and what to stderr, time to start."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import mcore.backend
from mcore.backend import BackendReport
from mcore.cli import main
from mcore.errors import BackendError, NonFiniteError
from mcore.spec import dump_spec, load_spec

SPECS = Path(__file__).parent / "specs"
TEXT = str(SPECS / "text.yaml")
Capture = pytest.CaptureFixture[str]


def process(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mcore.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        check=False,
        cwd=SPECS.parents[1],
    )


def test_check_says_ok(capsys: Capture) -> None:
    assert main(["spec", "check", TEXT, str(SPECS / "hybrid.yaml")]) == 0
    assert capsys.readouterr() == (f"{TEXT}: ok\n{SPECS / 'hybrid.yaml'}: ok\n", "")


def test_check_goes_on_after_a_wrong_file(tmp_path: Path, capsys: Capture) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("dtype: float16\n", encoding="utf-8")
    assert main(["spec", "check", str(wrong), TEXT]) == 2
    output = capsys.readouterr()
    assert output.out == f"{TEXT}: ok\n"
    assert output.err.startswith(f"{wrong}:1: dtype: 'float16' is not known here")
    assert output.err.count("\n") == 1


def test_set(capsys: Capture) -> None:
    assert main(["spec", "check", TEXT, "--set", "train.steps=0", "--set", "x=1"]) == 2
    places = [line.split(": ")[:2] for line in capsys.readouterr().err.splitlines()]
    assert places == [["--set", "train.steps"], ["--set", "x"]]


def test_show_prints_a_spec(tmp_path: Path, capsys: Capture) -> None:
    assert main(["spec", "show", TEXT, "--set", "train.seed=5"]) == 0
    output = capsys.readouterr()
    assert output.out == dump_spec(load_spec(TEXT, ["train.seed=5"]))
    assert output.err == ""


def test_show_of_a_wrong_spec(capsys: Capture) -> None:
    assert main(["spec", "show", "no-such.yaml"]) == 2
    output = capsys.readouterr()
    assert output == ("", "no-such.yaml: cannot be read: no such file or directory\n")


def test_schema_is_json(capsys: Capture) -> None:
    assert main(["spec", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "mcore spec"


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mcore {mcore.__version__}\n"


def test_backends(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    reports = [
        BackendReport("numba", True, ["scan", "delta.read"]),
        BackendReport("plain", True),
        BackendReport("cupy", False, [], "needs a GPU"),
    ]
    monkeypatch.setattr(mcore.backend, "report", lambda: reports)
    assert main(["backends"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "numba  here; fast kernels: scan, delta.read",
        "plain  here; fast kernels: none",
        "cupy   not here: needs a GPU",
    ]


def test_plan(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(mcore, "plan", lambda spec: f"{spec.train.steps} steps", raising=False)
    assert main(["plan", TEXT, "--set", "train.steps=120"]) == 0
    assert capsys.readouterr().out == "120 steps\n"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (BackendError("no such backend"), 2, "mcore: no such backend\n"),
        (NonFiniteError("loss is nan"), 1, "mcore: loss is nan\n"),
        (OSError(28, "No space left on device"), 1, "mcore: [Errno 28] No space left on device\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_expected_errors_have_no_traceback(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail() -> Sequence[BackendReport]:
        raise error

    monkeypatch.setattr(mcore.backend, "report", fail)
    assert main(["backends"]) == code
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    "arguments", [["trian"], ["spec", "check"], ["spec", "show", TEXT, "--sett", "a=1"], ["--x"]]
)
def test_usage_errors(arguments: list[str], capsys: Capture) -> None:
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert "Usage: mcore" in output.err
    assert output.out == ""


@pytest.mark.parametrize(
    "verb", [[], ["spec"], ["spec", "check"], ["spec", "show"], ["plan"], ["train"], ["backends"]]
)
def test_every_help_has_an_example(verb: list[str], capsys: Capture) -> None:
    assert main([*verb, "--help"]) == 0
    assert "Example: mcore" in capsys.readouterr().out


def processor_seconds(*arguments: str) -> float:
    """What a command costs: unlike the clock, this does not see who else uses the machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process(*arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_help_starts_fast() -> None:
    assert min(processor_seconds("--help") for _ in range(3)) < 0.5


def test_help_is_plain_where_asked() -> None:
    done = process("--help", env={"NO_COLOR": "1", "FORCE_COLOR": "1"})
    assert done.returncode == 0
    assert "\x1b[3" not in done.stdout


def test_importing_the_command_line_is_light() -> None:
    heavy = "{'pydantic', 'numba', 'numpy', 'yaml'} & set(sys.modules)"
    code = f"import sys, mcore.spec, mcore.cli.app; print(*{heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_reader_that_leaves_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "mcore.cli", "spec", "schema"],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        cwd=SPECS.parents[1],
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_problems_are_not_wrapped() -> None:
    done = process("spec", "check", "tests/bad_specs/kind_typo.yaml", env={"COLUMNS": "20"})
    expected = (SPECS.parent / "bad_specs" / "kind_typo.txt").read_text(encoding="utf-8")
    assert done.stderr == expected.replace("kind_typo.yaml", "tests/bad_specs/kind_typo.yaml")
    assert (done.returncode, done.stdout) == (2, "")
