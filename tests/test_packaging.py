"""The package list in pyproject.toml equals the folders, and the checkout looks like the wheel."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "mcore": "mcore",
    "mcore.backends": "backends",
    "mcore.cli": "cli",
    "mcore.specs": "specs",
}


def settings() -> dict[str, object]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        setuptools: dict[str, object] = tomllib.load(file)["tool"]["setuptools"]
    return setuptools


def packages_below(package: str, folder: Path) -> list[str]:
    found = [package]
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.is_symlink() and (child / "__init__.py").exists():
            found += packages_below(f"{package}.{child.name}", child)
    return found


def test_every_package_is_listed() -> None:
    there = [
        name
        for package, folder in FOLDERS.items()
        for name in packages_below(package, ROOT / folder)
    ]
    listed = settings()["packages"]
    assert isinstance(listed, list)
    assert sorted(listed) == sorted(there)


def test_packages_map_to_the_folders() -> None:
    assert settings()["package-dir"] == FOLDERS


@pytest.mark.parametrize("name", ["backends", "cli", "specs"])
def test_links_make_the_checkout_look_like_the_wheel(name: str) -> None:
    link = ROOT / "mcore" / name
    assert link.is_symlink()
    assert link.resolve() == ROOT / name


def timed_import(code: str) -> float:
    """CPU seconds of `code` in a new interpreter, the fastest of five (the machine is shared)."""
    script = f"import time; t = time.process_time(); {code}; print(time.process_time() - t)"
    runs = [
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        for _ in range(5)
    ]
    return min(float(run.stdout.split()[-1]) for run in runs)


def test_import_is_fast() -> None:
    assert timed_import("import mcore") < 0.35


def test_import_leaves_heavy_packages_alone() -> None:
    heavy = "numba", "pydantic", "yaml", "typer", "rich", "safetensors", "scipy", "torch", "jax"
    script = f"import sys, mcore; print([n for n in {heavy} if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"
