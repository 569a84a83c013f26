"""Where the rows of a call are cut: by integers, or by what the tokens are."""

from typing import NamedTuple

import numpy as np

from mcore.adaptive import place
from mcore.backend import Backend
from mcore.cache import MemoryState
from mcore.documents import Arrivals, Cuts, stretches
from mcore.errors import SpecError
from mcore.misfit import Drift, Measure, Surprise
from mcore.recurrence import Inputs, Recurrence
from mcore.segmentation import Adaptive, Given, Segmentation


class Content(NamedTuple):
    """What content-based cuts look at."""

    backend: Backend
    rule: Recurrence
    inputs: Inputs
    state: MemoryState


def find_cuts(
    segmentation: Segmentation, content: Content, arrived: Arrivals, carries: bool
) -> Cuts:
    """Cut every document of every row."""
    progress = content.state.progress
    if isinstance(segmentation, Adaptive):
        measure = _measure(segmentation, content, carries)
        return place(segmentation, measure, arrived.spans, progress, carries)
    rows = len(arrived.spans)
    segmentation.check_rows(rows)
    lists = [
        stretches(segmentation, spans, row, int(progress.position[row]))
        for row, spans in enumerate(arrived.spans)
    ]
    return Cuts(lists, np.zeros(rows, bool))


def check_documented(segmentation: Segmentation) -> None:
    """Raise SpecError if a segmentation cannot cut documents."""
    if isinstance(segmentation, Given):
        raise SpecError(
            "segmentation: given lengths count from the start of a row, and document ids divide "
            "it; constant, logarithmic or adaptive would do"
        )


def check_given(given: Segmentation, tokens: int, rows: int) -> None:
    """Raise SpecError unless the listed lengths of every row sum to its tokens."""
    if not isinstance(given, Given):
        return
    given.check_rows(rows)
    for row in range(rows):
        if given.total(row) != tokens:
            raise SpecError(
                f"segmentation.lengths: they sum to {given.total(row)}, but row {row} has "
                f"{tokens} tokens (step takes a part of a sequence)"
            )


def _measure(adaptive: Adaptive, content: Content, carries: bool) -> Measure:
    backend, rule, inputs, state = content
    if adaptive.rule == "drift":
        return Drift(inputs["k"], state.keys)
    dims = rule.dims(inputs)
    initial = rule.initial(inputs, dims).reshape(dims.H, -1)
    return Surprise(backend, rule, inputs, initial, state.online, carries)
