"""Measurements as a table for people, and as JSON for programs."""

from typing import TYPE_CHECKING, Any

from mcore.bench.measure import LayerTime, Measured

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    "part",
    "forward ms",
    "backward ms",
    "both ms",
    "GFLOP/s",
    "of sgemm",
    "tokens/s",
    "extra MB",
    "decode us/token",
)


def to_json(found: Measured) -> dict[str, Any]:
    """Plain numbers: seconds, FLOPs, FLOP/s, bytes."""
    sizes = {"name": found.name, "rows": found.rows, "tokens": found.tokens}
    layers = [layer._asdict() for layer in found.layers]
    return {**sizes, "threads": found.threads, "layers": layers, "step": found.step._asdict()}


def table(every: list[Measured]) -> "Table":
    """A line for each memory layer, and one for the training step, per spec."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(COLUMNS):
        made.add_column(column, justify="right" if index else "left")
    for found in every:
        made.add_row(f"{found.name}, {found.rows} x {found.tokens} tokens", style="bold")
        for layer in found.layers:
            made.add_row(*_layer_cells(layer, found.rows * found.tokens))
        made.add_row(*_step_cells(found))
    return made


def _layer_cells(layer: LayerTime, tokens: int) -> list[str]:
    both = layer.forward + layer.backward
    times = [f"{1e3 * x:.2f}" for x in (layer.forward, layer.backward, both)]
    return [f"  {layer.what}", *times, *_rates(layer.flops / both, layer.sgemm, tokens / both)]


def _step_cells(found: Measured) -> list[str]:
    step, tokens = found.step, found.rows * found.tokens
    rates = _rates(step.flops / step.seconds, step.sgemm, tokens / step.seconds)
    extra = "-" if step.extra is None else f"{step.extra / 2**20:.1f}"
    decode = "-" if step.token is None else f"{1e6 * step.token:.0f}"
    return ["  training step", "", "", f"{1e3 * step.seconds:.2f}", *rates, extra, decode]


def _rates(rate: float, sgemm: float, tokens: float) -> list[str]:
    share = f"{100 * rate / sgemm:.0f} % of {sgemm / 1e9:.0f}"
    return [f"{rate / 1e9:.1f}", share, f"{tokens:,.0f}"]
