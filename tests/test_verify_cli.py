"""`mcore verify` and the pytest plug-in: exit codes, what is printed, scripts that reproduce."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcore.cli import main
from mcore.testing.claims import parse_claim
from mcore.testing.loading import load_function
from mcore.testing.theorems import THEOREMS
from mcore.testing.theorems.case import Axes

TESTS = Path(__file__).parent
Capture = pytest.CaptureFixture[str]
CLAIM = ("--as", "recurrence=linear,readout=grm", "--examples", "6")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a right and a wrong kernel; `sys.path` as it was, afterwards."""
    source = (TESTS / "foreign.py").read_text(encoding="utf-8")
    (tmp_path / "right_kernel.py").write_text(source, encoding="utf-8")
    wrong = source.replace('if bug == "future":', "if True:")
    (tmp_path / "wrong_kernel.py").write_text(wrong, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    paths = [str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )


def test_a_right_kernel(folder: Path, capsys: Capture) -> None:
    names = ("--only", "causality,agreement,gradients,hybrid")
    addresses = ("--forward", "right_kernel:grm", "--backward", "right_kernel.py:grm_backward")
    assert main(["verify", *addresses, *CLAIM, *names]) == 0
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert lines[0] == "right_kernel:grm: linear x grm (independent), BTHD, numpy, float64"
    assert [line.split()[0] for line in lines[1:-1]] == names[1].replace(
        "causality,agreement,gradients,hybrid", "causality,hybrid,agreement,gradients"
    ).split(",")
    assert lines[-1] == "all hold" and output.err == ""
    assert not [path.name for path in folder.iterdir() if path.name.startswith((".hyp", "verify"))]


def test_a_wrong_kernel_and_its_script(folder: Path, capsys: Capture) -> None:
    arguments = ["verify", "--forward", "wrong_kernel.py:grm", *CLAIM, "--out", "found"]
    assert main([*arguments, "--only", "causality,agreement"]) == 1
    told = capsys.readouterr().out
    assert "causality is broken: no answer changes when later tokens do." in told
    assert "also broken, perhaps by the same bug: agreement" in told
    assert told.endswith("reproduce it: python found/verify-causality.py\n")
    script = folder / "found" / "verify-causality.py"
    run = python(str(script), folder=TESTS)
    assert (run.returncode, run.stderr) == (1, "")
    assert run.stdout.startswith("causality is broken: y before token")
    mended = (folder / "right_kernel.py").read_text(encoding="utf-8")
    (folder / "wrong_kernel.py").write_text(mended, encoding="utf-8")
    run = python(str(script), folder=TESTS)
    assert (run.returncode, run.stdout) == (0, "causality holds\n")


def test_json(folder: Path, capsys: Capture) -> None:
    arguments = ["verify", "--forward", "wrong_kernel:grm", *CLAIM, "--json"]
    assert main([*arguments, "--only", "causality"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["subject"], found["ok"]) == ("wrong_kernel:grm", False)
    assert found["diagnosis"] == "causality" and found["script"] == "verify-causality.py"
    assert found["theorems"][0]["counterexample"]["inputs"]["q"]


def test_a_backend_and_a_spec(capsys: Capture) -> None:
    few = ["--only", "residual_linear,ssc_grm", "--examples", "4"]
    assert main(["verify", "--backend", "reference", *few]) == 0
    assert capsys.readouterr().out.startswith("reference: ")
    spec = TESTS / "specs" / "text.yaml"
    assert main(["verify", str(spec), "--only", "agreement", "--examples", "4"]) == 0
    assert f"float64 ({spec})" in capsys.readouterr().out


def test_what_a_kernel_prints_is_kept_apart(folder: Path, capsys: Capture) -> None:
    kernel = (
        "import warnings\nfrom right_kernel import grm as right\n\n\ndef grm(inputs, lengths):\n"
    )
    kernel += "    print('tile')\n    warnings.warn('slow', stacklevel=1)\n"
    (folder / "chatty.py").write_text(kernel + "    return right(inputs, lengths)\n")
    arguments = ["verify", "--forward", "chatty:grm", *CLAIM, "--json", "--only", "split"]
    assert main(arguments) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["ok"] is True and output.err.startswith("tile\n")
    assert main([*arguments[:-3], "--only", "hybrid"]) == 0
    assert capsys.readouterr().out.endswith("\nnone of them applies\n")


def test_list(capsys: Capture) -> None:
    assert main(["verify", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(THEOREMS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--forward", "right_kernel:grm"], "mcore: --as: says what the kernel computes"),
        (["--as", "recurrence=linear,readout=grm"], "mcore: --as: is of a kernel"),
        (["--backward", "x:y"], "mcore: --backward: is of a kernel"),
        (["--layout", "BHTD"], "mcore: --layout, --arrays: are of a kernel"),
        (["--forward", "right_kernel", *CLAIM], "mcore: right_kernel: is no address"),
        (["--forward", "right_kernel:gmr", *CLAIM], "mcore: right_kernel:gmr: there is no"),
        (["--forward", "no_kernel:grm", *CLAIM], "mcore: no_kernel: No module named 'no_kernel'"),
        (["--forward", "no.py:grm", *CLAIM], "mcore: no.py: there is no such file"),
        (["--forward", "broken.py:grm", *CLAIM], "mcore: broken.py: importing it raised Zero"),
        (["--backend", "nmba"], "mcore: backend 'nmba' is unknown"),
        (["--backend", "reference", "--only", "causal"], "mcore: theorem 'causal' is unknown"),
        (["--forward", "right_kernel:grm", "--as", "recurrence=linear"], "--as: no readout"),
        (["no.yaml"], "no.yaml: cannot be read"),
    ],
)
def test_mistakes(folder: Path, capsys: Capture, arguments: list[str], told: str) -> None:
    (folder / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    assert main(["verify", *arguments]) == 2
    output = capsys.readouterr()
    assert output.err.startswith(told) and output.out == ""


def test_claims() -> None:
    claimed = (
        "recurrence=linear,feature_map=elu1,normalize=true,readout=ssc,top_k=3,start=checkpoint"
    )
    assert parse_claim(claimed) == Axes(
        {"kind": "linear", "feature_map": "elu1", "normalize": True},
        {"kind": "ssc", "top_k": 3},
        "checkpoint",
    )


def test_methods_are_found() -> None:
    assert load_function("mcore.testing:Kernel.give").__name__ == "give"


def test_the_plug_in(folder: Path) -> None:
    test = """
import mcore.testing
from {name} import grm

mcore_kernel = mcore.testing.Kernel(grm)


def test_kernel(mcore_theorem):
    mcore_theorem(mcore.testing.Effort(examples=2, seconds=0.5))


def test_another():
    pass
"""
    for name in ("right", "wrong"):
        (folder / f"test_{name}.py").write_text(test.format(name=f"{name}_kernel"))
    (folder / "test_none.py").write_text("def test_it(mcore_theorem):\n    pass\n")
    options = ("-m", "pytest", "-q", "--tb=short")
    run = python(*options, "test_right.py", "test_wrong.py", folder=folder)
    assert run.returncode == 1
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 3 and "test_wrong.py::test_kernel[causality]" in failed[0]
    assert "3 failed, 27 passed" in run.stdout
    assert "the smallest case found: linear x grm (independent)" in run.stdout
    run = python(*options, "test_none.py", folder=folder)
    assert run.returncode != 0 and "is about `mcore_kernel`" in run.stdout + run.stderr


def test_the_plug_in_is_light(folder: Path) -> None:
    heavy = ("numpy", "numba", "hypothesis", "yaml", "typer")
    loaded = f"[name for name in {heavy} if name in sys.modules]"
    code = f"import sys, mcore.testing.plugin; print({loaded})"
    assert python("-c", code, folder=folder).stdout.strip() == "[]"
