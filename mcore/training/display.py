"""What a run shows while it runs: progress on stderr, or every record on stdout as JSON."""

import json
import sys
from collections.abc import Mapping
from typing import Any, Protocol

METRICS = ("accuracy", "bits_per_byte", "mae", "rmse", "skill")
"""What of a record is shown beside its loss."""


class Display(Protocol):
    """Told what happens; none of it changes what is computed."""

    def start(self, title: str, step: int, steps: int) -> None:
        """A run begins, or goes on, after `step` of `steps`."""

    def advance(self, step: int) -> None:
        """A step is done."""

    def record(self, record: Mapping[str, Any]) -> None:
        """A line went to the metrics."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def stop(self) -> None:
        """The run is over, or broke off."""


class Quiet:
    """Shows nothing but notes."""

    def start(self, title: str, step: int, steps: int) -> None:
        """Nothing."""

    def advance(self, step: int) -> None:
        """Nothing."""

    def record(self, record: Mapping[str, Any]) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """A line on stderr."""
        print(text, file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Nothing."""


class Lines(Quiet):
    """One line on stderr for each record: for logs and pipes."""

    def __init__(self) -> None:
        self._title, self._steps = "", 0

    def start(self, title: str, step: int, steps: int) -> None:
        """Say which run this is."""
        self._title, self._steps = title, steps
        self.note(f"{title}: {f'resumed after step {step}' if step else 'started'}, {steps} steps")

    def record(self, record: Mapping[str, Any]) -> None:
        """The record in words."""
        self.note(f"{self._title} {record['step']}/{self._steps} {describe(record)}")


class JsonLines(Quiet):
    """One JSON object per line on stdout."""

    def __init__(self) -> None:
        self._title = ""

    def start(self, title: str, step: int, steps: int) -> None:
        """`{"kind": "start", ...}`."""
        self._title = title
        self._print({"kind": "start", "step": step, "steps": steps})

    def record(self, record: Mapping[str, Any]) -> None:
        """The record as it stands in metrics.jsonl, with the run's name."""
        self._print(record)

    def note(self, text: str) -> None:
        """`{"kind": "note", ...}`."""
        self._print({"kind": "note", "text": text})

    def _print(self, record: Mapping[str, Any]) -> None:
        print(json.dumps({"run": self._title, **record}), flush=True)


def describe(record: Mapping[str, Any]) -> str:
    """`loss 2.31  accuracy 0.25  0.003 lr  12,300 tokens/s`."""
    parts = ["held out"] if record["kind"] == "eval" else []
    parts += [f"loss {record['loss']:.4f}"]
    parts += [f"{name} {record[name]:.4f}" for name in METRICS if name in record]
    parts += [f"lr {record['lr']:.2e}"] if "lr" in record else []
    rate = record.get("tokens_per_second")
    return "  ".join([*parts, f"{rate:,.0f} tokens/s"] if rate else parts)


def choose_display(quiet: bool, as_json: bool) -> Display:
    """JSON if asked for; else nothing if asked for; else a bar on a terminal, lines elsewhere."""
    if as_json:
        return JsonLines()
    if quiet:
        return Quiet()
    if not sys.stderr.isatty():
        return Lines()
    from mcore.training.bar import Bar

    return Bar()
