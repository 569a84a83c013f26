"""`mcore plan`: what a spec builds and what it costs, without running it."""

import typer

from mcore.cli.options import Set, SpecFile


def plan(file: SpecFile, overrides: Set = None) -> None:
    """Print layers, shapes, parameters, operations and bytes of a spec, without running it.

    Example: mcore plan specs/quickstart.yaml --set model.width=256
    """
    import mcore
    from mcore.spec import load_spec

    typer.echo(str(mcore.plan(load_spec(file, overrides or ()))))
