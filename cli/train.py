"""`mcore train`: train what a spec describes, or go on with a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcore.cli.options import Set

if TYPE_CHECKING:
    from mcore.training import Result

_File = Annotated[str | None, typer.Argument(metavar="FILE", help="A YAML spec.")]
_Out = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Folder for the run, new or empty; runs/FILE-1, runs/FILE-2, ... if not given.",
    ),
]
_Resume = Annotated[
    Path | None, typer.Option(metavar="RUN", help="Go on with this run instead of a new one.")
]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the results.")]
_Json = Annotated[bool, typer.Option("--json", help="All as JSON, one object a line, on stdout.")]


def train(
    file: _File = None,
    out: _Out = None,
    overrides: Set = None,
    resume: _Resume = None,
    quiet: _Quiet = False,
    as_json: _Json = False,
) -> None:
    """Train the model of a spec and the variants it compares; print how well they do.

    The run's folder keeps the spec, a line of numbers per log and evaluation, and the last,
    previous and best snapshot. Ctrl-C saves and stops. A run that was stopped or killed, at any
    moment, goes on with --resume and ends with the same numbers, to the bit.

    Results go to stdout, progress to stderr.

    Example: mcore train specs/quickstart.yaml

    Example: mcore train specs/quickstart.yaml --set train.steps=200 --out runs/short

    Example: mcore train --resume runs/short

    Example: mcore train specs/quickstart.yaml --json | jq 'select(.kind == "eval").accuracy'
    """
    _check(file, out, overrides, resume)
    from mcore.training import Interrupted
    from mcore.training.report import print_json, print_report

    try:
        result = _train(file, out, overrides or [], resume, (quiet, as_json))
    except Interrupted as stopped:
        typer.echo(stopped, err=True)
        raise typer.Exit(stopped.exit_code) from None
    (print_json if as_json else print_report)(result)


def _check(
    file: str | None, out: Path | None, overrides: list[str] | None, resume: Path | None
) -> None:
    if resume is None and file is None:
        raise typer.BadParameter("name a spec FILE to train, or a run to --resume")
    if resume is not None and (file or out or overrides):
        message = "a run keeps its spec and folder: no FILE, --out or --set together with --resume"
        raise typer.BadParameter(message)


def _train(
    file: str | None,
    out: Path | None,
    overrides: list[str],
    resume: Path | None,
    shown: tuple[bool, bool],
) -> "Result":
    from mcore import training
    from mcore.spec import load_spec
    from mcore.spec.compile import compile as compile_model
    from mcore.training.allocator import keep_freed_memory

    keep_freed_memory()
    display = training.choose_display(*shown)
    if resume is not None:
        return training.resume(resume, compile_model, display)
    assert file is not None
    spec = load_spec(file, overrides)
    return training.run(spec, compile_model, out, Path(file).stem, display)
