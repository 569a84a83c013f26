"""`mcore inspect`: where a trained model's memories cut held-out rows, and what they look at."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcore.cli.options import Set

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcore.model.inspection import MemoryView

SHOWN = 8
"""Checkpoints whose gates are printed."""

_Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or a snapshot.")]
_Row = Annotated[int, typer.Option(metavar="N", min=0, help="The row whose cuts are shown.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object per memory on stdout.")]


def inspect(run: _Run, overrides: Set = None, row: _Row = 0, as_json: _Json = False) -> None:
    """Show what the memories of a trained model do with its first held-out rows.

    For each memory: how long its segments are, where it cut one row (as text where tokens are
    bytes), and the mean gate of the online memory and of each checkpoint, the newest first.

    Example: mcore inspect runs/text-1

    Example: mcore inspect runs/text-1 --set memory.segmentation.threshold=0.6 --row 3
    """
    import json

    import mcore
    from mcore.data import make_task
    from mcore.errors import InputError
    from mcore.model.inspection import inspect as look
    from mcore.training.need import check_batch

    model = mcore.load(run, overrides or ())
    check_batch(model.spec)
    data, train = model.spec.data, model.spec.train
    batch = next(make_task(data, train.batch, train.seed).eval_batches())
    if row >= len(batch.tokens):
        raise InputError(f"--row {row}: there are {len(batch.tokens)} rows, counted from 0")
    for view in look(model, batch.tokens):
        if as_json:
            typer.echo(json.dumps(asdict(view)))
            continue
        _print(view, row, batch.tokens[row] if data.task == "text" else None)


def _print(view: "MemoryView", row: int, tokens: "NDArray[np.int64] | None") -> None:
    every = sorted(n for lengths in view.lengths for n in lengths)
    typer.echo(f"{view.name}: {view.what}")
    typer.echo(
        f"  {len(every) / len(view.lengths):.1f} segments a row, {every[0]} to {every[-1]} tokens, "
        f"half of them up to {every[len(every) // 2]}"
    )
    typer.echo(f"  row {row}: {' '.join(map(str, view.lengths[row]))}")
    if tokens is not None:
        typer.echo(f"  {_text(tokens, view.lengths[row])}")
    if view.online is not None:
        ages = " ".join(f"{gate:.3f}" for gate in view.cached[:SHOWN])
        rest = " ..." if len(view.cached) > SHOWN else ""
        typer.echo(f"  gates: online {view.online:.3f}; checkpoints, newest first: {ages}{rest}")


def _text(tokens: "NDArray[np.int64]", lengths: list[int]) -> str:
    """The row as text, with a bar at each cut; line ends and what is not ASCII are escaped."""
    begin, pieces = 0, []
    for length in lengths:
        piece = bytes(tokens[begin : begin + length].astype("uint8").tolist())
        pieces.append(piece.decode("latin-1").encode("unicode_escape").decode("ascii"))
        begin += length
    return "|".join(pieces)
