"""A report in words."""

from collections.abc import Iterator

import numpy as np

from mcore.arrays import Array
from mcore.testing.choices import Axis
from mcore.testing.theorems.case import Axes, Case
from mcore.testing.theorems.outcome import Outcome, Report

MOST = 24
"""Numbers of an array that are printed."""


def table(report: Report) -> Iterator[str]:
    """One line for each theorem."""
    width = max(len(outcome.theorem.name) for outcome in report.outcomes)
    for outcome in report.outcomes:
        yield f"  {outcome.theorem.name:<{width}}  {_row(outcome)}"


def _row(outcome: Outcome) -> str:
    if outcome.not_applicable is not None:
        return f"{'-':<6}  {'':>5}  {'':>7}  not applicable: {outcome.not_applicable}"
    verdict = "holds" if outcome.verdict == "holds" else "BROKEN"
    worst = f"{outcome.worst:.1e}" if np.isfinite(outcome.worst) else ""
    return f"{verdict:<6}  {outcome.tried:>5}  {worst:>7}  {outcome.theorem.sentence}"


def explanation(report: Report) -> Iterator[str]:
    """The most telling broken theorem with its counterexample, and the names of the others."""
    first, *others = report.broken
    assert first.case is not None
    yield f"{first.theorem.name} is broken: {first.theorem.sentence}."
    yield f"  {first.violation}"
    yield from (f"  {line}" for line in _case(first.case, len(first.case.lengths)))
    if others:
        names = ", ".join(outcome.theorem.name for outcome in others)
        yield f"  also broken, perhaps by the same bug: {names}"


def _case(case: Case, segments: int) -> Iterator[str]:
    sizes = " ".join(f"{name}={size}" for name, size in case.sizes._asdict().items())
    cuts = "one segment" if segments == 1 else f"{segments} segments"
    yield f"the smallest case found: {claim(case.axes)}; {cuts} of {list(case.lengths)}; {sizes}"
    for name, array in case.inputs.items():
        yield f"  {name} ({case.declared[name]}) = {_numbers(array)}"


def _numbers(array: Array) -> str:
    """All in one line, without the brackets of axes of length 1."""
    if array.size > MOST:
        return f"{array.size} numbers (in the script)"
    shown = np.array2string(array.squeeze(), separator=", ", precision=4, max_line_width=10_000)
    return " ".join(shown.split())


def claim(axes: Axes) -> str:
    """A composition in one line."""
    return f"{_axis(axes.recurrence)} x {_axis(axes.readout)} ({axes.start})"


def _axis(axis: Axis) -> str:
    if isinstance(axis, str):
        return axis
    options = ", ".join(f"{name}: {value}" for name, value in axis.items() if name != "kind")
    return f"{axis['kind']} {{{options}}}" if options else str(axis["kind"])
