"""One whole training step of `specs/text.yaml`, beside the same model in PyTorch eager.

    python -m benchmarks.model --rounds 7
    python -m benchmarks.model --threads 2

Forward, loss, backward, clip and AdamW on rows of text. Loss and all gradients of both are compared
before anything is timed. The best of several rounds, in which a step of each and NumPy's large
sgemm take turns; on one thread by the processor's clock, on more by the wall's. Useful FLOPs are
those of `mcore plan`: products of the layers and of the memories, backward twice the forward. Both
keep freed memory as `mcore train` does. Writes a table to benchmarks/results/.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import mcore
from benchmarks.machine import blas, machine
from benchmarks.torch_model import TorchModel
from mcore.bench.clock import Effort, interleave
from mcore.data import Batch, make_task
from mcore.model import Model
from mcore.spec import Spec
from mcore.threads import blas_threads
from mcore.training.allocator import keep_freed_memory
from mcore.training.optim import AdamW
from mcore.training.step import take_step

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
AGREE = 1e-4
"""Largest difference of a gradient, as a share of its largest entry."""

HEAD = [
    "| model | threads | mcore ms | torch ms | torch / mcore | useful GFLOP/s | sgemm GFLOP/s "
    "| of sgemm |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
]


class Steps(NamedTuple):
    """A training step of each, on one batch."""

    ours: Callable[[], object]
    theirs: Callable[[], object]
    flops: float


class Times(NamedTuple):
    """Best seconds of each, and the best sgemm rate between them."""

    ours: float
    theirs: float
    sgemm: float


def prepare(spec: Spec, threads: int) -> Steps:
    """Both models with the same parameters, once they are known to agree."""
    model = mcore.compile(spec, threads=threads)
    batch = make_task(spec.data, spec.train.batch, spec.train.seed).train_batch(1)
    assert isinstance(batch, Batch)
    other = TorchModel(model)
    tokens, labels = torch.tensor(batch.tokens), torch.tensor(batch.labels)
    check(model, other, batch)
    chosen = spec.train.optimizer
    optimizer = AdamW(
        model.params,
        model.no_decay,
        betas=chosen.betas,
        eps=chosen.eps,
        weight_decay=chosen.weight_decay,
    )
    return Steps(
        lambda: take_step(1, batch, model, optimizer, spec.train),
        lambda: other.step(tokens, labels),
        useful_flops(model, *batch.tokens.shape),
    )


def check(model: Model, other: TorchModel, batch: Batch) -> None:
    """Loss and every gradient are the same up to rounding."""
    loss, saved = model.loss(batch.tokens, batch.labels)
    ours = model.loss_backward(saved)
    value = other.loss(torch.tensor(batch.tokens), torch.tensor(batch.labels))
    value.backward()
    if abs(loss.value - float(value.detach())) > AGREE:
        raise SystemExit(f"loss: {loss.value} here, {float(value.detach())} in torch")
    for name, theirs in other.gradients().items():
        off = float(np.abs(ours[name] - theirs).max() / np.abs(theirs).max())
        if off > AGREE:
            raise SystemExit(f"the gradient of {name} differs by {off:.1e}")


def useful_flops(model: Model, rows: int, length: int) -> float:
    """FLOPs of a step, as `mcore plan` counts them, the head included."""
    head = 2.0 * model.layout.width * model.vocab
    parts = sum(part.flops(length) for part in model.layout.parts.values())
    return 3 * rows * length * (parts + head)


def measure(steps: Steps, rounds: int, effort: Effort) -> Times:
    """The best of so many rounds; two more to warm up."""
    for _ in range(2):
        steps.ours()
        steps.theirs()
    found = interleave({"ours": steps.ours, "theirs": steps.theirs}, effort._replace(rounds=rounds))
    return Times(found.seconds["ours"], found.seconds["theirs"], found.sgemm)


def line(spec: Spec, threads: int, times: Times, flops: float) -> str:
    """A row of the table."""
    rate, shape = flops / times.ours, spec.model
    cells = [
        f"width {shape.width}, depth {shape.depth}, {spec.train.batch} x {spec.data.length} tokens",
        str(threads),
        f"{1e3 * times.ours:.0f}",
        f"{1e3 * times.theirs:.0f}",
        f"{times.theirs / times.ours:.2f}x",
        f"{rate / 1e9:.0f}",
        f"{times.sgemm / 1e9:.0f}",
        f"{100 * rate / times.sgemm:.0f} %",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure, print the table and write it to benchmarks/results/."""
    parser = argparse.ArgumentParser(description="Time a training step beside PyTorch's.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(given.threads)
    spec = mcore.load_spec(ROOT / "specs" / "text.yaml")
    effort = Effort(given.threads, seconds=0.0)
    with blas_threads(given.threads):
        steps = prepare(spec, given.threads)
        times = measure(steps, given.rounds, effort)
    what = f"{machine()}, OpenBLAS with {blas()} kernels, PyTorch {torch.__version__} eager."
    lines = [what, "", *HEAD, line(spec, given.threads, times, steps.flops)]
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    name = "model.md" if given.threads == 1 else f"model-{given.threads}-threads.md"
    (RESULTS / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
