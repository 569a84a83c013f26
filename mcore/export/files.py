"""Graphs on disk: STEM.step.onnx and STEM.sequence.onnx."""

from pathlib import Path
from typing import Any

from mcore.export.graphs import Graphs
from mcore.snapshot import write_whole


def stem_of(path: Path) -> Path:
    """Where the graphs of a run folder, or of a snapshot file, go if nothing else is said."""
    return path / "model" if path.is_dir() else path.with_suffix("")


def write_graphs(graphs: Graphs, stem: Path) -> list[Path]:
    """Write both graphs, each whole or not at all; an ending `.onnx` of the stem is left out.

    The same model gives the same bytes.

    Raises:
        SnapshotError: the disk does not take them.
    """
    stem = stem.with_suffix("") if stem.suffix == ".onnx" else stem
    written = []
    for kind, model in graphs._asdict().items():
        path = stem.with_name(f"{stem.name}.{kind}.onnx")
        write_whole(path, content(model))
        written.append(path)
    return written


def content(model: Any) -> bytes:
    """A graph as bytes."""
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised
