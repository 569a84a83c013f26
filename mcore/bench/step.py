"""A training step and a token of a stream, timed."""

from collections.abc import Callable
from typing import NamedTuple

from mcore.arrays import Array
from mcore.bench.clock import Effort, interleave
from mcore.bench.peak import extra_bytes
from mcore.model import Model
from mcore.spec import Spec
from mcore.spec.plan import plan
from mcore.training.sample import optimizer_of
from mcore.training.step import take_step
from mcore.training.truncate import AnyBatch
from mcore.warmup import streams

FED = 16
"""Tokens of a stream that are timed together."""


class StepTime(NamedTuple):
    """A training step: forward, backward, clip and update.

    Attributes:
        seconds: of the step.
        flops: useful FLOPs of forward and backward; the head only where there is a label, if
            data are tokens.
        extra: peak bytes beside parameters and optimizer; None where the system does not say.
        token: seconds of a token in a stream that has seen a row; None if it cannot be streamed.
        sgemm: as in `LayerTime`.
    """

    seconds: float
    flops: float
    extra: int | None
    token: float | None
    sgemm: float


def step_time(model: Model, batch: AnyBatch, effort: Effort) -> StepTime:
    """Run a training step and a stream once, and time them."""
    optimizer, train = optimizer_of(model), model.spec.train
    calls: dict[str, Callable[[], object]] = {
        "step": lambda: take_step(1, batch, model, optimizer, train)
    }
    if streams(model):
        calls["feed"] = _feeder(model, batch.tokens[0])
    for call in calls.values():
        call()
    extra = extra_bytes(calls["step"])
    seconds, sgemm = interleave(calls, effort)
    token = seconds["feed"] / FED if "feed" in seconds else None
    return StepTime(seconds["step"], _flops(model.spec, batch), extra, token, sgemm)


def _flops(spec: Spec, batch: AnyBatch) -> float:
    found = plan(spec)
    head = next(row.flops for row in found.rows if row.name == "head")
    tokens = batch.tokens.shape[0] * batch.tokens.shape[1]
    labelled = float((batch.labels >= 0).sum()) if batch.tokens.ndim == 2 else tokens
    return float(3 * ((found.flops - head) * tokens + head * labelled))


def _feeder(model: Model, row: Array) -> Callable[[], object]:
    """Feeds the tokens that follow a row, one by one, always from the same state."""
    session = model.session()
    session.feed(row)
    begin = session.state

    def run() -> None:
        session.state = begin
        for at in range(FED):
            session.feed(row[at % len(row)][None])

    return run
