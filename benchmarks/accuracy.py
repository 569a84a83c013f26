"""How far the float32 kernels are from the reference in float64: y, and the worst gradient.

    python -m benchmarks accuracy --rules linear gla

Both are given the same float32 numbers. Errors are relative to the largest entry.
"""

import argparse
from collections.abc import Mapping, Sequence

import numpy as np

import mcore
from benchmarks.agree import relative_error
from benchmarks.results import RESULTS, Row, heading, load, path_of, publish, store, table
from mcore.recurrence import RULES
from mcore.testing.samples import sample_inputs

HEAD = ["layer", "y", "worst gradient", "of"]
WHAT = "Relative errors of float32 kernels against the reference in float64."
CUT = {"kind": "constant", "length": 64}
SIZES = (2, 320, 2, 32, 32)
QUICK = (1, 80, 1, 4, 4)


def errors(rule: str, readout: str, sizes: Sequence[int]) -> dict[str, float]:
    """Of y, and of the gradient of each input."""
    composition = {"recurrence": rule, "segmentation": CUT, "readout": readout}
    inputs = sample_inputs(composition, sizes, 0)
    inputs = {name: x.astype(np.float32) for name, x in inputs.items()}
    fast = mcore.memory(rule, CUT, readout, backend="numba")
    exact = mcore.memory(rule, CUT, readout, backend="reference", dtype="float64")
    y, saved = fast.forward(inputs)
    wanted, kept = exact.forward(inputs)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    grads, wanted_grads = fast.backward(saved, dy), exact.backward(kept, dy.astype(np.float64))
    found = {name: relative_error(grads[name], wanted_grads[name]) for name in grads}
    return {"y": relative_error(y, wanted), **found}


def lines(rows: Mapping[str, Row]) -> list[str]:
    """Markdown."""
    cells = []
    for name, row in rows.items():
        grads = {n: e for n, e in row["errors"].items() if n != "y"}
        worst = max(grads, key=lambda n: grads[n])
        cells.append([name, f"{row['errors']['y']:.1e}", f"{grads[worst]:.1e}", worst])
    return heading(WHAT, rows) + table(HEAD, cells)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the rules, each kept at once; write and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy", description=WHAT)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES), metavar="RULE")
    parser.add_argument("--readout", default="grm")
    parser.add_argument("--quick", action="store_true", help="few tokens, to see that all works")
    parser.add_argument("--out", type=type(RESULTS), default=RESULTS, metavar="FOLDER")
    given = parser.parse_args(argv)
    path = path_of("accuracy", given.out)
    for rule in given.rules:
        found = errors(rule, given.readout, QUICK if given.quick else SIZES)
        store(path, f"{rule} + {given.readout}", {"errors": found})
    publish(path, lines(load(path)))
