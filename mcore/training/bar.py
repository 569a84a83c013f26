"""Progress on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mcore.training.display import Quiet, describe


class Bar(Quiet):
    """A bar with the latest numbers and the time left; evaluations and notes stay above it."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._progress: Progress | None = None

    def start(self, title: str, step: int, steps: int) -> None:
        """Show the bar."""
        columns = [
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
        ]
        self.stop()
        self._progress = Progress(*columns, console=self._console)
        self._task = self._progress.add_task(title, total=steps, completed=step, numbers="")
        self._progress.start()

    def advance(self, step: int) -> None:
        """Move the bar."""
        if self._progress:
            self._progress.update(self._task, completed=step)

    def record(self, record: Mapping[str, Any]) -> None:
        """Show the numbers beside the bar, or, if they are of held-out data, above it."""
        if not self._progress:
            return
        if record["kind"] == "eval":
            self.note(f"step {record['step']}  {describe(record)}")
        else:
            self._progress.update(self._task, numbers=describe(record))

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        """Leave the bar where it is."""
        if self._progress:
            self._progress.stop()
            self._progress = None
