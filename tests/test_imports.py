"""Who may import whom, read off the syntax trees: the layers of the library stay in order."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS: list[tuple[str, ...]] = [
    ("errors", "arrays", "dlpack", "threads", "machine", "plain_file", "tensor_file"),
    ("placing", "picking"),
    ("snapshot", "router", "segmentation", "segments", "readout", "recurrence", "cache"),
    ("backend",),
    ("layers", "reading", "continuation", "memory_layer", "axes", "compose"),
    ("model",),
    ("session", "session_check", "session_file", "data", "training", "spec", "weights"),
    ("pool", "interop", "export", "live"),
]
"""From the ground up: a module imports from its own row and from those above it in this list."""

RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def sources() -> list[Path]:
    folders = [ROOT / "mcore", ROOT / "cli"]
    return sorted(
        path
        for folder in folders
        for path in folder.rglob("*.py")
        if not {"backends", "cli", "specs"} & set(path.relative_to(folder).parts[:1])
    )


def imported(path: Path) -> list[str]:
    """Dotted names of everything that a file imports, `from a import b` as a.b too."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def imported_at_load(path: Path) -> list[str]:
    """As `imported`, without what is imported inside functions or for type checkers only."""
    tree = ast.parse(path.read_text())
    plain = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    found: list[str] = []
    for node in plain:
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_backends_are_reached_only_through_the_registry(path: Path) -> None:
    names = imported(path)
    assert not [n for n in names if n == "mcore.backends" or n.startswith("mcore.backends.")]


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_layers_are_in_order(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] != "mcore" or parts[1] not in RANK:
        return
    names = [name.split(".")[1] for name in imported_at_load(path) if name.startswith("mcore.")]
    above = [name for name in names if RANK.get(name, 0) > RANK[parts[1]]]
    assert not above, f"{parts[1]} must not import {above}"


def test_the_rule_can_fail() -> None:
    assert RANK["model"] > RANK["memory_layer"] > RANK["backend"] > RANK["recurrence"]
    assert "mcore.backends" in imported(ROOT / "backends" / "numpy_ref" / "__init__.py")[0]
