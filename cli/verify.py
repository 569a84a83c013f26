"""`mcore verify`: the theorems of memory caching, tried on a backend, a spec or any kernel."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mcore.testing.targets import Target
    from mcore.testing.theorems.outcome import Report

_File = Annotated[str | None, typer.Argument(metavar="FILE", help="A YAML spec.")]
_Backend = Annotated[
    str | None, typer.Option(metavar="NAME", help="One backend; without it, all that run here.")
]
_Forward = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:NAME", help="A kernel: forward(inputs, lengths) -> y. Or FILE.py:NAME."
    ),
]
_Backward = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:NAME", help="Its backward(inputs, lengths, dy) -> dict of gradients."
    ),
]
_As = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="AXES",
        help="What the kernel computes: recurrence=..., readout=..., start=..., and options such "
        "as top_k=2.",
    ),
]
_Layout = Annotated[str, typer.Option(metavar="BTHD|BHTD", help="Axes of the kernel's arrays.")]
_Arrays = Annotated[
    str, typer.Option(metavar="numpy|jax|torch|cupy", help="Library of the kernel's arrays.")
]
_Dtype = Annotated[str, typer.Option(metavar="float64|float32", help="Dtype of the arrays.")]
_Examples = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Cases per theorem at most.")
]
_Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of the choice of cases.")]
_Only = Annotated[str, typer.Option(metavar="NAME,...", help="These theorems alone.")]
_List = Annotated[bool, typer.Option("--list", help="Print the theorems and what they say.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object per subject on stdout.")]
_Out = Annotated[Path, typer.Option(metavar="FOLDER", help="Where counterexamples are written.")]


def verify(
    file: _File = None,
    backend: _Backend = None,
    forward: _Forward = None,
    backward: _Backward = None,
    claim: _As = None,
    layout: _Layout = "BTHD",
    arrays: _Arrays = "numpy",
    dtype: _Dtype = "float64",
    examples: _Examples = None,
    seed: _Seed = 0,
    only: _Only = "",
    listed: _List = False,
    as_json: _Json = False,
    out: _Out = Path(),
) -> None:
    """Try the theorems of memory caching on a backend, on a spec's memories, or on your kernel.

    Each theorem is tried on many small cases; a line says whether it holds, on
    how many cases, and the largest relative error. Of those that are broken the
    most telling one comes with the smallest case found, and with a script that
    reproduces it, verify-THEOREM.py.

    Exit code: 0 all hold, 1 one is broken, 2 usage.

    Example: mcore verify --backend numba

    Example: mcore verify --forward kernels:grm --backward kernels:grm_bwd
    --as recurrence=linear,readout=grm --layout BHTD
    """
    if listed:
        return _list()
    from mcore.testing.targets import Asked, targets
    from mcore.testing.theorems.exchange import Exchange

    asked = Asked(file, backend, forward, backward, claim)
    names = [name.strip() for name in only.split(",") if name.strip()]
    good = True
    for target in targets(asked, Exchange(layout, arrays, dtype)):
        with _no_traces(), redirect_stdout(sys.stderr):  # a kernel may print
            report = _run(target, examples, seed, names)
        good &= report.ok
        _tell(target, report, out, as_json)
    if not good:
        raise typer.Exit(1)
    return None


def _list() -> None:
    from mcore.testing.theorems import THEOREMS

    for name, theorem in THEOREMS.items():
        typer.echo(f"{name:<22}{theorem.sentence}")


@contextmanager
def _no_traces() -> Iterator[None]:
    """What Hypothesis keeps for next time would be a folder among the user's files."""
    import os
    from tempfile import TemporaryDirectory
    from unittest.mock import patch

    with TemporaryDirectory(prefix="mcore-") as folder:
        home = {"HYPOTHESIS_STORAGE_DIRECTORY": folder}
        with patch.dict(os.environ, home | dict(os.environ)):
            yield


def _run(target: "Target", examples: int | None, seed: int, only: list[str]) -> "Report":
    """With a line of progress where somebody looks on."""
    from rich.console import Console

    from mcore.testing.verify import chosen, verify

    names = [theorem.name for theorem in chosen(only)]
    console = Console(stderr=True)
    effort = target.effort(examples, seed)
    if not console.is_terminal:
        return verify(target.subject, effort, only)
    with console.status(target.subject.name) as status:
        return verify(
            target.subject,
            effort,
            only,
            lambda theorem: status.update(
                f"{target.subject.name}: {theorem.name} "
                f"({1 + names.index(theorem.name)} of {len(names)}) ..."
            ),
        )


def _tell(target: "Target", report: "Report", out: Path, as_json: bool) -> None:
    import json

    from mcore.testing.theorems.script import write_script
    from mcore.testing.theorems.words import explanation, table

    first = report.diagnosis
    script = str(write_script(first, target.made(first), out)) if first else None
    if as_json:
        return typer.echo(json.dumps(report.to_json() | {"script": script}))
    typer.echo(f"{report.subject}: {target.what}")
    for line in table(report):
        typer.echo(line)
    if first is None:
        tried = any(outcome.tried for outcome in report.outcomes)
        return typer.echo("all hold" if tried else "none of them applies")
    typer.echo("")
    for line in explanation(report):
        typer.echo(line)
    return typer.echo(f"  reproduce it: python {script}")
