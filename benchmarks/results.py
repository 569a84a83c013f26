"""Numbers on disk: one JSON file per table and kind of BLAS kernels, added to row by row.

A table can be measured in pieces: rows that are there stay as they are until they are measured
again. Those of another machine or of other versions are dropped.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.machine import blas, machine

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


def path_of(table: str, folder: Path = RESULTS) -> Path:
    """Where a table's numbers are."""
    return folder / f"{table}-{blas()}.json"


def load(path: Path) -> dict[str, Row]:
    """Rows of this machine, by name, oldest first."""
    found = json.loads(path.read_text()) if path.exists() else {}
    rows: dict[str, Row] = found.get("rows", {}) if found.get("machine") == machine() else {}
    return rows


def store(path: Path, name: str, row: Row) -> dict[str, Row]:
    """Put one row into a file, and return all that are in there."""
    path.parent.mkdir(exist_ok=True)
    rows = load(path) | {name: {**row, "date": date.today().isoformat()}}
    path.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    return rows


def heading(what: str, rows: Mapping[str, Row]) -> list[str]:
    """What was measured, on what, and when."""
    days = sorted({row["date"] for row in rows.values()})
    when = days[0] if days[:1] == days[-1:] else f"{days[0]} to {days[-1]}"
    return [f"{what} {machine()}, OpenBLAS with {blas()} kernels, {when}.", ""]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def publish(path: Path, lines: Sequence[str]) -> None:
    """Print a table, and write it beside its numbers."""
    text = "\n".join(lines) + "\n"
    print(text)
    path.with_suffix(".md").write_text(text)
