"""`mcore bench`: how fast memory layers and training steps are on this machine."""

from typing import TYPE_CHECKING, Annotated

import typer

from mcore.cli.options import Set

if TYPE_CHECKING:
    from mcore.spec import Spec

_File = Annotated[str | None, typer.Argument(metavar="FILE", help="A YAML spec.")]
_Threads = Annotated[
    int, typer.Option(metavar="N", min=1, help="1: processor's clock; more: wall clock.")
]
_Seconds = Annotated[float, typer.Option(metavar="S", min=0.0, help="Time for each measurement.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object per spec on stdout.")]


def bench(
    file: _File = None,
    overrides: Set = None,
    threads: _Threads = 1,
    seconds: _Seconds = 2.0,
    as_json: _Json = False,
) -> None:
    """Time the memory layers and a training step of a spec; without one, of some compositions.

    The machine's own large product (sgemm) is measured in between, on as many threads: useful
    FLOPs, as `mcore plan` counts them, are put beside it. The best of several rounds counts. Peak
    memory is that of a training step; decode is a token of one stream that has seen a row.

    Example: mcore bench specs/text.yaml --set train.batch=4

    Example: mcore bench --json | jq .step
    """
    import json

    from mcore.bench.clock import Effort
    from mcore.bench.measure import measure
    from mcore.bench.report import table, to_json

    found = []
    for name, spec in _specs(file, overrides or []).items():
        typer.echo(f"{name} ...", err=True)
        found.append(measure(name, spec, Effort(threads, 3, seconds)))
        if as_json:
            typer.echo(json.dumps(to_json(found[-1])))
    if not as_json:
        from rich.console import Console

        Console(width=None if typer.get_text_stream("stdout").isatty() else 140).print(table(found))


def _specs(file: str | None, overrides: list[str]) -> "dict[str, Spec]":
    from mcore.bench.compositions import COMPOSITIONS, spec_of
    from mcore.spec import load_spec

    if file is not None:
        return {file: load_spec(file, overrides)}
    return {name: load_spec(spec_of(*axes), overrides) for name, axes in COMPOSITIONS.items()}
