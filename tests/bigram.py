"""A small real model for tests of training: next token from the last one, gradients by hand.

As a script it trains or resumes a run, and kills itself where it is told to:

    python bigram.py RUN [--resume] [--kill-rename N] [--kill-step N] [--slow SECONDS]
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcore import training
from mcore.spec import Spec, load_spec

SPEC: dict[str, Any] = {
    "model": {"width": 8, "heads": 1, "depth": 1},
    "data": {"task": "mqar", "vocab": 32, "length": 16, "pairs": 2, "eval_examples": 24},
    "train": {
        "steps": 24,
        "batch": 4,
        "save_every": 4,
        "eval_every": 6,
        "log_every": 3,
        "optimizer": {"kind": "adamw", "lr": 0.05},
    },
    "backend": "reference",
    "compare": {"hot": {"train.optimizer.lr": 0.5}},
}


@dataclass(frozen=True)
class Loss:
    """As the protocol asks."""

    value: float
    count: int
    correct: int


class Bigram:
    """logits = table[token] + bias."""

    def __init__(self, spec: Spec) -> None:
        vocab, dtype = getattr(spec.data, "vocab", 256), spec.dtype
        rng = np.random.default_rng(spec.train.seed)
        table = rng.standard_normal((vocab, vocab)).astype(dtype)
        self.params: dict[str, NDArray[Any]] = {"table": table, "bias": np.zeros(vocab, dtype)}
        self.arrays = self.params
        self.no_decay = frozenset({"bias"})
        self.slow = 0.0
        self.steps = 0
        self.kill_step = 0

    def loss(
        self,
        tokens: NDArray[np.int64],
        labels: NDArray[np.int64],
        state: Mapping[str, NDArray[Any]] | None = None,
        /,
        *,
        document: NDArray[Any] | None = None,
    ) -> tuple[Loss, Any]:
        """Cross-entropy and softmax; state and documents change nothing."""
        time.sleep(self.slow)
        there = labels >= 0
        x, target = tokens[there], labels[there]
        logits = self.params["table"][x] + self.params["bias"]
        logits -= logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        rows = np.arange(x.size)
        hits = int((logits.argmax(axis=1) == target).sum())
        value = float(-log_p[rows, target].mean(dtype=np.float64))
        return Loss(value, x.size, hits), (x, target, np.exp(log_p))

    def end(self, saved: Any, /) -> dict[str, NDArray[Any]]:
        """The last token."""
        return {"last": saved[0][-1:]}

    def loss_backward(self, saved: Any, /) -> dict[str, NDArray[Any]]:
        """Softmax minus one-hot, averaged."""
        self.steps += 1
        if self.steps == self.kill_step:
            os.kill(os.getpid(), signal.SIGKILL)
        x, target, p = saved
        d_logits = p.copy()
        d_logits[np.arange(x.size), target] -= 1
        d_logits /= x.size
        table = np.zeros_like(self.params["table"])
        np.add.at(table, x, d_logits)
        return {"table": table, "bias": d_logits.sum(axis=0)}

    def state_bytes(self, tokens: int, /) -> int:
        """One token."""
        return 8


def small_spec(**train: Any) -> Spec:
    """The spec of these tests without comparisons, with changes to its train section."""
    return load_spec({**SPEC, "train": {**SPEC["train"], **train}, "compare": {}})


def _kill_at_rename(number: int) -> None:
    count, rename = 0, Path.replace

    def replace(path: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(path, target)

    Path.replace = replace  # type: ignore[method-assign, assignment]


def main() -> int:
    """Run as the docstring says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--kill-rename", type=int, default=0)
    parser.add_argument("--kill-step", type=int, default=0)
    parser.add_argument("--slow", type=float, default=0.0)
    args = parser.parse_args()

    def compile_model(spec: Spec) -> Bigram:
        model = Bigram(spec)
        model.slow, model.kill_step = args.slow, args.kill_step
        return model

    _kill_at_rename(args.kill_rename)
    try:
        if args.resume:
            training.resume(args.run, compile_model)
        else:
            training.run(load_spec(SPEC), compile_model, args.run)
    except training.Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
