"""The tables of `benchmarks.gpu`, for people."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from benchmarks.gpu_lab import Lab
from benchmarks.results import table

Rows = Mapping[str, Mapping[str, Any]]


def publish(lab: Lab) -> None:
    """Print the tables; beside the numbers as well unless the device is emulated."""
    text = "\n".join(lines(lab)) + "\n"
    print(text)
    if not lab.emulated:
        lab.path.with_suffix(".md").write_text(text)


def lines(lab: Lab) -> list[str]:
    """Markdown."""
    found = [f"{lab.name}, {', '.join(lab.facts)}, {date.today().isoformat()}.", ""]
    parts = {"checks": checks, "rates": rates, "layers": layers, "decode": decode}
    for name, make in parts.items():
        rows = lab.rows.get(name)
        if rows:
            found += [*make(rows, lab.rows.get("rates", {})), ""]
    return found


def checks(rows: Rows, _: Rows) -> list[str]:
    """How many compositions agree, and the worst of each dtype."""
    good = sum(row["error"] <= row["allowed"] for row in rows.values())
    found = [f"{good} of {len(rows)} compositions agree with float64 on the CPU, both ways."]
    for dtype in ("float32", "float64"):
        own = {name: row for name, row in rows.items() if name.endswith(dtype)}
        worst = max(own, key=lambda name: own[name]["error"], default="")
        if worst:
            found.append(f"Worst in {dtype}: {worst}, {own[worst]['error']:.1e}.")
    return found


def rates(rows: Rows, _: Rows) -> list[str]:
    """What the device can do."""
    cells = []
    for name, row in rows.items():
        bandwidth = row.get("bytes per second")
        told = f"{bandwidth / 1e9:.0f} GB/s" if bandwidth else _tera(row["flops per second"])
        cells.append([name, told])
    return table(["what", "rate"], cells)


def layers(rows: Rows, found: Rows) -> list[str]:
    """Times of layers beside their bounds."""
    head = ["layer, forward and backward", "by", "ms", "TFLOP/s", "of its products", "of copy"]
    cells = []
    for name, row in rows.items():
        for contender, seconds in row["seconds"].items():
            if not contender.endswith("both"):
                continue
            cells.append(
                [
                    name,
                    contender.removesuffix(" both"),
                    f"{1e3 * seconds:.2f}",
                    f"{row['flops'] / seconds / 1e12:.1f}",
                    _share(row["flops"] / seconds, _matrix_rate(found, row["width"])),
                    _share(row["bytes"] / seconds, _copy(found)),
                ]
            )
    return table(head, cells)


def decode(rows: Rows, found: Rows) -> list[str]:
    """Times of tokens beside that of reading what they read."""
    head = ["token", "launched, us", "as a graph, us", "reading alone, us"]
    cells = []
    for name, row in rows.items():
        copy = _copy(found)
        alone = f"{1e6 * row['bytes'] / copy:.1f}" if copy else "?"
        launched, graph = (f"{1e6 * row['seconds'][kind]:.1f}" for kind in ("launches", "graph"))
        cells.append([name, launched, graph, alone])
    return table(head, cells)


def _tera(rate: float) -> str:
    return f"{rate / 1e12:.1f} TFLOP/s"


def _copy(found: Rows) -> float:
    return float(found.get("copy", {}).get("bytes per second", 0.0))


def _matrix_rate(found: Rows, width: int) -> float:
    """cuBLAS's rate in float32 on many matrices as wide as the layer."""
    own = [
        row["flops per second"]
        for name, row in found.items()
        if name.startswith("float32") and name.endswith(f" x {width}")
    ]
    return max(own, default=0.0)


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "?"
