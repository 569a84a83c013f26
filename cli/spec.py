"""`mcore spec`: check a spec, show it with all defaults, print the schema."""

from typing import Annotated

import typer

from mcore.cli.options import Set, SpecFile

spec_app = typer.Typer(
    help="Check and show specs.\n\nExample: mcore spec check specs/*.yaml",
    no_args_is_help=True,
)

_Files = Annotated[list[str], typer.Argument(metavar="FILE", help="YAML specs.")]


@spec_app.command()
def check(files: _Files, overrides: Set = None) -> None:
    """Say everything that is wrong with specs, as file:line: path: what; what would do.

    Exit code 0 if all are right, 2 if any is wrong.

    Example: mcore spec check specs/*.yaml --set backend=reference
    """
    from mcore.errors import SpecError
    from mcore.spec import load_spec

    wrong = False
    for file in files:
        try:
            load_spec(file, overrides or ())
        except SpecError as error:
            wrong = True
            typer.echo(error, err=True)
        else:
            typer.echo(f"{file}: ok")
    if wrong:
        raise typer.Exit(SpecError.exit_code)


@spec_app.command()
def show(file: SpecFile, overrides: Set = None) -> None:
    """Print a spec with all its defaults, as YAML that is a spec again.

    Example: mcore spec show specs/quickstart.yaml --set memory.readout=ssc > ssc.yaml
    """
    from mcore.spec import dump_spec, load_spec

    typer.echo(dump_spec(load_spec(file, overrides or ())), nl=False)


@spec_app.command()
def schema() -> None:
    """Print the JSON schema of specs: every key, its meaning, range and default.

    With it, editors complete and check specs while you type.

    Example: mcore spec schema > spec.schema.json
    """
    import json

    from mcore.spec import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
