"""The verbs of `mcore`, put together. What a verb needs is imported when it runs."""

from typing import Annotated

import typer

from mcore.cli.backends import backends
from mcore.cli.bench import bench
from mcore.cli.evaluate import evaluate
from mcore.cli.export import export
from mcore.cli.inspect import inspect
from mcore.cli.plan import plan
from mcore.cli.spec import spec_app
from mcore.cli.stream import stream
from mcore.cli.train import train
from mcore.cli.verify import verify
from mcore.cli.warmup import warmup

app = typer.Typer(
    help="Train and study recurrent networks that cache their memory.\n\n"
    "A YAML spec says what to build; `mcore spec check` says what is wrong with it, `mcore plan` "
    "what it costs, and `mcore train` trains it.\n\n"
    "Example: mcore train specs/quickstart.yaml --set train.steps=200",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from mcore import __version__

        typer.echo(f"mcore {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options that stand before the verb."""


app.command("train")(train)
app.command("plan")(plan)
app.command("evaluate")(evaluate)
app.command("inspect")(inspect)
app.command("export")(export)
app.command("stream")(stream)
app.command("bench")(bench)
app.command("warmup")(warmup)
app.add_typer(spec_app, name="spec")
app.command("backends")(backends)
app.command("verify")(verify)
