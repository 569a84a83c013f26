"""The on-disk kernel cache: a second process compiles nothing, an edited callee is never missed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "backends" / "numba_cpu"

CALLEE = """
from mcore.backends.numba_cpu.caching import device

@device
def shift(x):
    return x + 1
"""
ENTRY = """
from mcore.backends.numba_cpu.caching import kernel
from mcore.backends.numba_cpu.callee import shift

@kernel
def shifted(x):
    return shift(x)
"""
PROBE = """
from mcore.backends.numba_cpu.entry import shifted
print(shifted(1), sum(shifted.stats.cache_hits.values()))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package tree with our caching module and two probe modules."""
    package = tmp_path / "src" / "mcore" / "backends" / "numba_cpu"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    for name in ("caching.py", "folding.py", "linking.py", "lowering.py"):
        shutil.copy(SOURCES / name, package)
    (package / "callee.py").write_text(CALLEE)
    (package / "entry.py").write_text(ENTRY)
    return tmp_path


def probe(tree: Path, **environment: str) -> tuple[int, int]:
    """(result of the kernel, number of cache hits) in a new process."""
    env = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    env |= {"MCORE_CACHE_DIR": str(tree / "cache"), **environment}
    command = [sys.executable, "-W", "error", "-c", PROBE]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tree, check=False)
    assert done.returncode == 0, done.stderr
    result, hits = done.stdout.split()
    return int(result), int(hits)


def test_second_process_hits_the_cache_and_an_edited_callee_misses_it(tree: Path) -> None:
    assert probe(tree) == (2, 0)
    assert probe(tree) == (2, 1)
    callee = tree / "src" / "mcore" / "backends" / "numba_cpu" / "callee.py"
    callee.write_text(CALLEE.replace("x + 1", "x + 5"))
    # Another package's locator must not take over: it would not see the edit.
    assert probe(tree, NUMBA_CACHE_LOCATOR_CLASSES="InTreeCacheLocator") == (6, 0)
    assert probe(tree) == (6, 1)


def test_unusable_folder_compiles_without_cache(tree: Path) -> None:
    (tree / "file").touch()
    assert probe(tree, MCORE_CACHE_DIR=str(tree / "file")) == (2, 0)


def test_damaged_cache_is_a_miss(tree: Path) -> None:
    assert probe(tree) == (2, 0)
    for path in (tree / "cache").rglob("*.nb?"):
        path.write_bytes(b"damaged")
    assert probe(tree) == (2, 0)
