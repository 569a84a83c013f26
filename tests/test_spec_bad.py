"""Wrong specs as files: NAME.yaml must give exactly the problems in NAME.txt."""

import time
from pathlib import Path

import pytest

from mcore.cli import main
from mcore.errors import SpecError
from mcore.spec import load_spec

FOLDER = Path(__file__).parent / "bad_specs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


@pytest.fixture(autouse=True)
def in_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)


def expected(name: str) -> str:
    return Path(f"{name}.txt").read_text(encoding="utf-8")


def test_every_text_has_its_spec() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == NAMES
    assert len(NAMES) >= 30


@pytest.mark.parametrize("name", NAMES)
def test_exact_problems(name: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(SpecError) as caught:
        load_spec(f"{name}.yaml")
    assert f"{caught.value}\n" == expected(name)
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize("name", NAMES)
def test_each_problem_is_one_line_that_names_the_file(name: str) -> None:
    lines = expected(name).splitlines()
    assert lines
    assert all(line.startswith(f"{name}.yaml:") for line in lines)


@pytest.mark.parametrize("name", ["several_problems", "alias_bomb", "empty"])
def test_command_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spec", "check", f"{name}.yaml"]) == 2
    output = capsys.readouterr()
    assert output.err == expected(name)
    assert output.out == ""
