"""`mcore warmup`: compile every kernel that a spec needs, before it is needed."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from mcore.cli.options import Set, SpecFile

if TYPE_CHECKING:
    from mcore.warmup import Warmed

_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the last line.")]


def warmup(file: SpecFile, overrides: Set = None, quiet: _Quiet = False) -> None:
    """Compile the kernels of a spec, so that training, evaluation and streams start at once.

    Kernels are kept on disk, once per machine; $MCORE_CACHE_DIR says where. Does nothing but check
    if they are there already.

    Progress goes to stderr, the summary to stdout.

    Example: mcore warmup specs/quickstart.yaml

    Example: mcore warmup specs/text.yaml --set dtype=float64
    """
    start = time.perf_counter()
    from mcore.spec import load_spec
    from mcore.warmup import compiler_of, fresh, jobs, warm

    model = fresh(load_spec(file, overrides or ()))
    todo, done = jobs(model), list["Warmed"]()
    for number, job in enumerate(todo, 1):
        if not quiet:
            typer.echo(f"[{number}/{len(todo)}] {job.name} ...", err=True, nl=False)
        done.append(warm(model, job))
        if not quiet:
            typer.echo(f" {_told(done[-1])}", err=True)
    seconds, compiled = time.perf_counter() - start, sum(len(part.kernels) for part in done)
    compiler = compiler_of(model)
    where = f"; kernels are in {compiler.folder}" if compiler else ""
    what = f"compiled {compiled} kernels" if compiled else "already warm"
    typer.echo(f"{file}: {what} ({seconds:.1f} s){where}")


def _told(part: "Warmed") -> str:
    slow = sorted(part.kernels, key=lambda kernel: -kernel.seconds)
    names = ", ".join(f"{kernel.name} {kernel.seconds:.1f} s" for kernel in slow)
    return f"{part.seconds:.1f} s" + (f" ({names})" if names else "")
