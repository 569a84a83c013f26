"""Arguments that several verbs share."""

from typing import Annotated

import typer

SpecFile = Annotated[str, typer.Argument(metavar="FILE", help="A YAML spec.")]

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change one key, e.g. --set memory.readout.top_k=4 (repeatable; VALUE is YAML).",
    ),
]
