"""`mcore stream`: a trained model's answers to what comes in, line by line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mcore.live import Live, Options

_Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or a snapshot.")]
_Follow = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Read this file, and go on as it grows; else stdin."),
]
_State = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Keep the stream here, and go on from there next time."),
]
_SaveEvery = Annotated[
    str, typer.Option(metavar="N", help="Write the state every N tokens, or seconds as 2.5s.")
]
_Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write lines here, not to stdout; with --state each exactly once.",
    ),
]
_Top = Annotated[int, typer.Option(metavar="K", min=0, help="Tell the K likeliest next tokens.")]
_Chunk = Annotated[
    int,
    typer.Option(metavar="N", min=1, help="Feed N at a time: faster, but lines wait for the N-th."),
]


def stream(
    run: _Run,
    follow: _Follow = None,
    state: _State = None,
    save_every: _SaveEvery = "10s",
    out: _Out = None,
    top: _Top = 3,
    chunk: _Chunk = 1,
) -> None:
    """Feed a trained model what comes in, and print a JSON line for each answer.

    A model of text reads bytes. Its lines tell the byte that came, the bits it cost (-log2 of the
    probability it had), their mean so far, and what may come next. A model of series reads a vector
    a line, as CSV (with or without a line of names) or JSON; its lines tell forecasts, classes or
    values. Other models of tokens read a whole number a line.

    With --state the stream outlives the process. Ctrl-C and SIGTERM save it; after kill -9 it goes
    on from the last save. A followed or redirected file is then read on from where it was left, and
    --out FILE has the same lines as if nothing had happened.

    Example: mcore stream runs/text-1 < README.md

    Example: mcore stream runs/text-1 --follow app.log --state app.state --out app.jsonl

    Example: tail -f sensors.csv | mcore stream runs/sensors-1 --save-every 1000 --state s.state
    """
    import mcore
    from mcore.live import Every, Live, Options, Stopped

    options = Options(follow, state, Every.of(save_every), out, top, chunk)
    with Live(mcore.load(run), options) as live:
        _begin(live)
        code = 0
        try:
            live.run()
        except Stopped as stopped:
            code = stopped.exit_code
    typer.echo(_farewell(live, run, options), err=True)
    raise typer.Exit(code)


def _begin(live: "Live") -> None:
    place = live.place
    after = f", after {place.tokens} tokens" if place.tokens else ""
    typer.echo(f"{live.source.name}: from byte {place.consumed} on{after}", err=True)


def _farewell(live: "Live", run: Path, options: "Options") -> str:
    """How far the stream has come, and how it goes on."""
    mean = live.place.score.mean
    told = f"{live.place.tokens} tokens" + ("" if mean is None else f", {mean:.4f} bits a token")
    if options.state is None:
        return f"{told}; with --state FILE a stream can go on later"
    given = {"follow": options.follow, "state": options.state, "out": options.out}
    flags = "".join(f" --{name} {path}" for name, path in given.items() if path is not None)
    return f"{told}; saved; go on with: mcore stream {run}{flags}"
