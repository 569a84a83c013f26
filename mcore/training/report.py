"""The closing summary and the table of variants."""

import json
from collections.abc import Iterator
from typing import Any

from mcore.training.result import Result

Row = tuple[str, ...]


def summary(result: Result) -> list[str]:
    """What the run came to, in lines of text."""
    minutes, seconds = divmod(round(result.seconds), 60)
    lines = [
        f"{result.run}: {result.metric} {result.value:.4f} (best {result.best:.4f}), "
        f"loss {result.loss:.4f} after {result.step} steps in {minutes}:{seconds:02}"
    ]
    if result.more:
        lines[0] += ", " + ", ".join(f"{name} {x:.4f}" for name, x in result.more.items())
    if result.compression:
        others = ", ".join(f"{name} {bits:.4f}" for name, bits in result.compression)
        lines.append(f"bits_per_byte of the same held-out files by {others}")
    return lines


def table(result: Result) -> list[Row]:
    """Header and rows: the run itself, then its variants, then other compressors for text."""
    header = ("run", result.metric, "parameters", "state bytes", "tokens/s")
    rows = [_row(name, each, result.metric) for name, each in _named(result)]
    others = [(name, f"{bits:.4f}", "", "", "") for name, bits in result.compression]
    return [header, *rows, *others]


def print_report(result: Result) -> None:
    """Summary and table on stdout."""
    for line in summary(result):
        print(line)
    rows = table(result)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *numbers in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True)]
        print("  ".join(cells).rstrip())


def print_json(result: Result) -> None:
    """One JSON object for each run on stdout."""
    for name, each in _named(result):
        record: dict[str, Any] = {"run": name, "kind": "result", "folder": str(each.run)}
        print(json.dumps(record | each.to_json()), flush=True)


def _named(result: Result) -> Iterator[tuple[str, Result]]:
    yield result.run.name, result
    yield from result.comparison.items()


def _row(name: str, result: Result, metric: str) -> Row:
    value = f"{result.value:.4f}" + ("" if result.metric == metric else f" {result.metric}")
    rate = f"{result.tokens_per_second:,.0f}" if result.tokens_per_second else "-"
    return name, value, f"{result.parameters:,}", f"{result.state_bytes:,}", rate
