"""`mcore verify` as functions: all theorems about a kernel, or about a backend."""

from collections.abc import Callable, Sequence
from itertools import product

from mcore.backend import get_backend
from mcore.errors import InputError
from mcore.testing.choices import EVERY_READOUT, RECURRENCES, STARTS, VARIANTS, Axis, takes
from mcore.testing.theorems import THEOREMS, Theorem
from mcore.testing.theorems.case import Axes
from mcore.testing.theorems.exchange import Exchange
from mcore.testing.theorems.kernel import Backward, Forward, Kernel
from mcore.testing.theorems.outcome import Outcome, Report
from mcore.testing.theorems.search import Effort, search
from mcore.testing.theorems.subject import Memories, Subject

Watch = Callable[[Theorem], None]


def verify_kernel(
    forward: Forward,
    backward: Backward | None = None,
    *,
    recurrence: Axis = "linear",
    readout: Axis = "grm",
    start: str = "independent",
    exchange: Exchange | None = None,
    effort: Effort | None = None,
) -> Report:
    """Check every theorem that applies to someone else's kernel.

    Args:
        forward: `forward(inputs, lengths) -> y`.
        backward: `backward(inputs, lengths, dy) -> dict of gradients`, if there is one.
        recurrence, readout, start: what it claims to compute, as `mcore.memory` takes them.
        exchange: layout, library and dtype of its arrays.
        effort: how many cases, which, how long.

    Returns:
        A report; `report.ok` says whether all theorems hold, `report.diagnosis` is the most telling
        one that does not, with a small counterexample.
    """
    kernel = Kernel(
        forward, backward,
        recurrence=recurrence, readout=readout, start=start, exchange=exchange,
    )  # fmt: skip
    return verify(kernel, effort or Effort())


def verify_backend(name: str, *, dtype: str = "float64", effort: Effort | None = None) -> Report:
    """Check every theorem on the memories of a backend, over all compositions there are.

    Raises:
        BackendError: it is not installed.
    """
    get_backend(name)
    return verify(Memories(name, dtype, every_axes()), effort or Effort())


def every_axes() -> tuple[Axes, ...]:
    """All rules, readouts and starts that go together."""
    return tuple(
        Axes(recurrence, readout, start)
        for recurrence, readout, start in product(RECURRENCES, (*EVERY_READOUT, *VARIANTS), STARTS)
        if takes(recurrence, readout)
    )


def verify(
    subject: Subject, effort: Effort, only: Sequence[str] = (), watch: Watch | None = None
) -> Report:
    """Check theorems on a subject: all, or those named."""
    outcomes: list[Outcome] = []
    for theorem in chosen(only):
        if watch:
            watch(theorem)
        outcomes.append(search(theorem, subject, effort))
    return Report(subject.name, outcomes)


def chosen(only: Sequence[str]) -> list[Theorem]:
    """The theorems of these names, or all; raises InputError for a name that is none."""
    unknown = [name for name in only if name not in THEOREMS]
    if unknown:
        raise InputError(f"theorem {unknown[0]!r} is unknown; {', '.join(THEOREMS)} would do")
    return [theorem for name, theorem in THEOREMS.items() if not only or name in only]
