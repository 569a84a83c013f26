"""Ctrl-C and SIGTERM: finish the step, save, and say how to go on."""

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop, and did so after saving.

    Attributes:
        run: the folder to resume.
        exit_code: 130 after Ctrl-C, 143 after SIGTERM, as shells count.
    """

    def __init__(self, run: Path, step: int, number: int) -> None:
        self.run, self.step, self.number = run, step, number
        self.exit_code = 128 + number
        super().__init__(f"stopped after step {step}; resume with: mcore train --resume {run}")

    def of(self, run: Path) -> "Interrupted":
        """The same for the run that this one is a part of."""
        return Interrupted(run, self.step, self.number)


class Interrupts:
    """Notes the first signal within a `with` block; a second one ends the program at once.

    In other threads than the main one Python delivers no signals, and this does nothing.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
