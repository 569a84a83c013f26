"""A picture of what `layer` and `memory` have measured: needs matplotlib.

    python -m benchmarks plot

Left, how much of the machine's large sgemm each contender reaches in useful FLOPs, forward and
backward; right, the memory that both take beside the inputs.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from benchmarks.layer import ordered
from benchmarks.layer_table import LINEAR_NAME
from benchmarks.machine import machine
from benchmarks.results import RESULTS, Row, load, path_of

COLOURS = {
    "mcore": "#1b6ca8",
    "torch": "#e07b39",
    "torch.compile": "#f2b98a",
    "jax.jit": "#6a9a58",
    "numpy": "#9a9a9a",
}
BAR = 0.16
"""Height of a bar, where a row is 1."""


def share_of_sgemm(row: Row) -> dict[str, float]:
    """Per cent, by contender."""
    useful = 300 * row["flops"] / row["sgemm"]
    return {label(name): useful / times["both"] for name, times in row["seconds"].items()}


def megabytes(row: Row) -> dict[str, float]:
    """Extra memory, by contender; of PyTorch's forms, the smaller."""
    found: dict[str, float] = {}
    for name, taken in row["extra"].items():
        found[label(name)] = min(taken / 2**20, found.get(label(name), float("inf")))
    return found


def label(name: str) -> str:
    """A contender without its form."""
    return name.split(",")[0]


def bars(axes: Any, rows: Sequence[Row], value: Callable[[Row], dict[str, float]]) -> None:
    """One group of bars per row, the first at the top; each bar ends with its number."""
    for place, row in enumerate(rows):
        found = sorted(value(row).items(), key=lambda item: list(COLOURS).index(item[0]))
        for index, (name, size) in enumerate(found):
            at = place + BAR * (index - (len(found) - 1) / 2)
            axes.barh(at, size, 0.9 * BAR, color=COLOURS[name])
            axes.text(size, at, f" {size:.0f}", va="center", fontsize=7, color="#333333")
    axes.set_yticks(range(len(rows)), [ticks(row) for row in rows])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="#e5e5e5")
    axes.set_axisbelow(True)


def ticks(row: Row) -> str:
    """Sizes of a row."""
    segments = -(-row["tokens"] // row["segment"])
    return f"d = {row['width']}\n{segments} x {row['segment']} tokens"


def picture(layers: Mapping[str, Row], memories: Mapping[str, Row]) -> Any:
    """The figure."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    compared = [row for row in layers.values() if LINEAR_NAME not in row["seconds"]]
    taken = list(memories.values())
    figure = Figure(figsize=(11, 1.6 + 0.8 * max(len(compared), len(taken))), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    bars(left, compared, share_of_sgemm)
    left.axvline(100, color="#333333", linewidth=1)
    left.set_xlim(0, 105)
    left.set_title("speed: useful FLOPs in % of large sgemm (line)", loc="left", fontsize=10)
    bars(right, taken, megabytes)
    right.set_title("peak memory beside the inputs, MB", loc="left", fontsize=10)
    right.margins(x=0.12)
    shown = {label(name) for row in compared for name in row["seconds"]}
    colours = {name: colour for name, colour in COLOURS.items() if name in shown}
    patches = [Patch(color=colour, label=name) for name, colour in colours.items()]
    figure.legend(handles=patches, loc="outside upper center", ncols=len(patches), frameon=False)
    title = "forward and backward of linear memory + GRM, float32, one thread"
    figure.supxlabel(f"{title}\n{machine()}", fontsize=7, color="#555555")
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Draw what is there into results/layer-*.png."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks plot")
    parser.add_argument("--out", type=type(RESULTS), default=RESULTS, metavar="FOLDER")
    folder = parser.parse_args(argv).out
    if find_spec("matplotlib") is None:
        raise SystemExit('matplotlib is not installed; pip install -e ".[bench]" brings it')
    found = picture(ordered(load(path_of("layer", folder))), load(path_of("memory", folder)))
    path = path_of("layer", folder).with_suffix(".png")
    found.savefig(path, dpi=150)
    print(path)
