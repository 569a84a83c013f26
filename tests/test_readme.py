"""What the README shows runs as it stands there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_python_blocks_run() -> None:
    (block,) = blocks("python")
    scope: dict[str, object] = {}
    exec(block, scope)
    assert set(scope["grads"]) == set(scope["x"])  # type: ignore[call-overload]


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_the_two_commands_are_there() -> None:
    bash = "".join(blocks("bash"))
    setup = "python3 -m venv .venv && .venv/bin/pip install -e"
    assert f"{setup} . && .venv/bin/mcore train specs/quickstart.yaml" in bash
    assert f'{setup} ".[test]" && .venv/bin/pytest' in bash
