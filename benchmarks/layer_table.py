"""The tables of `benchmarks.layer`: mcore beside its peers, and rules beside each other."""

from collections.abc import Mapping

from benchmarks.results import Row, heading, table

HEAD = ["d / L / N", "by", "forward ms", "both ms", "GFLOP/s", "of sgemm", "both, against mcore"]
RULE_HEAD = [*HEAD[:1], "layer", *HEAD[2:-1], "both, against linear + grm"]
LINEAR_NAME = "linear + grm"
"""The contender that other rules and readouts are put beside."""

WHAT = (
    "One memory layer, forward alone and forward with backward, float32, one thread; useful "
    "GFLOP/s of both together."
)


def lines(rows: Mapping[str, Row]) -> list[str]:
    """Markdown: heading, a table of contenders, and one of rules."""
    found = heading(WHAT, rows)
    found += table(HEAD, [cells for row in rows.values() for cells in contender_rows(row)])
    others = [row for row in rows.values() if LINEAR_NAME in row["seconds"]]
    if others:
        found += ["", *table(RULE_HEAD, [rule_row(row) for row in others])]
    return found


def sizes(row: Row) -> str:
    """Of a problem, in short."""
    return f"{row['width']} / {row['segment']} / {-(-row['tokens'] // row['segment'])}"


def contender_rows(row: Row) -> list[list[str]]:
    """A line for each contender on `linear` + `grm`."""
    if LINEAR_NAME in row["seconds"]:
        return []
    ours = row["seconds"]["mcore"]["both"]
    return [
        [sizes(row), name, *numbers(row, name), f"{times['both'] / ours:.1f}x"]
        for name, times in row["seconds"].items()
    ]


def rule_row(row: Row) -> list[str]:
    """The line of another rule or readout."""
    read = f"{row['readout']} {row['top_k']}" if row["readout"] == "ssc" else row["readout"]
    times = row["seconds"]
    ratio = f"{times['mcore']['both'] / times[LINEAR_NAME]['both']:.2f}x"
    return [sizes(row), f"{row['rule']} + {read}", *numbers(row, "mcore"), ratio]


def numbers(row: Row, name: str) -> list[str]:
    """Milliseconds, useful rate, and the rate beside this run's sgemm."""
    times = row["seconds"][name]
    rate = 3 * row["flops"] / times["both"]
    milliseconds = [f"{1e3 * times[part]:.1f}" for part in ("forward", "both")]
    percent = f"{100 * rate / row['sgemm']:.0f} % of {row['sgemm'] / 1e9:.0f}"
    return [*milliseconds, f"{rate / 1e9:.1f}", percent]
