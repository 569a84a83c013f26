"""`mcore export`: a trained model in a form that other programs run."""

from pathlib import Path
from typing import Annotated

import typer

from mcore.cli.options import Set

_Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or a snapshot.")]
_Onnx = Annotated[
    bool, typer.Option("--onnx", help="Write ONNX graphs: STEM.step.onnx and STEM.sequence.onnx.")
]
_Out = Annotated[
    Path | None,
    typer.Option(metavar="STEM", help="Where to; RUN/model, or beside the snapshot, if not given."),
]
_Segments = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Checkpoints held where the cache has no limit; the oldest goes."
    ),
]
_Tokens = Annotated[
    int | None,
    typer.Option(metavar="N", help="Tokens that attention sees where it has no window."),
]
_Check = Annotated[
    int,
    typer.Option(
        metavar="N", min=0, help="Random tokens on which the graphs must agree; 0 = none."
    ),
]


def export(
    run: _Run,
    onnx: _Onnx = False,
    out: _Out = None,
    max_segments: _Segments = None,
    max_tokens: _Tokens = None,
    check: _Check = 32,
    overrides: Set = None,
) -> None:
    """Write a trained model in a form that other programs run.

    --onnx writes two graphs, for onnxruntime and others, float32 and without Python. STEM.step.onnx
    takes one token of every row and all states, and gives the logits of the next token and the
    states after it; all states are zero before the first. STEM.sequence.onnx takes whole rows. Both
    describe their tensors in their metadata. A graph's arrays do not grow: a model whose cache or
    attention does needs a bound.

    Example: mcore export runs/text-1 --onnx --max-segments 64
    """
    from mcore.errors import InputError

    if not onnx:
        raise InputError("export: nothing says into what; --onnx would do")
    _export_onnx(run, out, (max_segments, max_tokens), (check, overrides or []))


def _export_onnx(
    run: Path,
    out: Path | None,
    bounds: tuple[int | None, int | None],
    rest: tuple[int, list[str]],
) -> None:
    import mcore
    from mcore.export import onnx_model
    from mcore.export.check import check_graphs
    from mcore.export.facts import NOTES
    from mcore.export.files import stem_of, write_graphs
    from mcore.spec.restore import on_host

    check, overrides = rest
    model = mcore.load(run, [*overrides, *on_host(run)])
    graphs = onnx_model(model, *bounds)
    if check:
        found = check_graphs(graphs, model, check)
    for path in write_graphs(graphs, out or stem_of(run)):
        typer.echo(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    known = {prop.key: prop.value for prop in graphs.step.metadata_props}
    for note in known.get(NOTES, "").splitlines():
        typer.echo(f"note: {note}")
    if check:
        typer.echo(
            f"checked on {found.tokens} tokens: within {found.apart:.0e} of the model's answers"
        )
