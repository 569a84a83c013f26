"""`mcore evaluate`: how well a trained model does on held-out data, as it is or read otherwise."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mcore.cli.options import Set

_Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or a snapshot.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def evaluate(run: _Run, overrides: Set = None, as_json: _Json = False) -> None:
    """Score a trained model on its task's held-out data.

    Keys that leave the parameters as they are may be changed: the length of rows, where they are
    cut, and readouts without parameters, so that a model trained without a cache can be read with
    one.

    Example: mcore evaluate runs/text-1

    Example: mcore evaluate runs/plain --set memory.readout=moving_average
    --set "memory.segmentation={kind: constant, length: 512}" --set data.length=4096
    """
    import mcore
    from mcore.data import make_task
    from mcore.training.evaluate import evaluate as score
    from mcore.training.need import check_batch

    model = mcore.load(run, overrides or ())
    check_batch(model.spec)
    spec = model.spec
    task = make_task(spec.data, spec.train.batch, spec.train.seed)
    found = score(model, task.eval_batches(), task.metric, 0)
    if as_json:
        typer.echo(json.dumps({"run": str(run), "set": overrides or [], **found.to_json()}))
    else:
        more = "".join(f", {name} {value:.4f}" for name, value in found.more.items())
        typer.echo(f"{run}: {found.metric} {found.value:.4f}{more}, loss {found.loss:.4f}")
