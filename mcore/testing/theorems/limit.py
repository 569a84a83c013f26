"""Calls of code that may do anything: raise, or not come back."""

import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mcore.testing.theorems.violation import Endless, Fault


class TooLong(BaseException):
    """The time is up. No Exception, so that a kernel which catches those does not catch it."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TooLong in the block after so many seconds.

    Python code is interrupted between two of its instructions; compiled code that never returns
    is not. Outside the main thread, and where there are no timers, there is no limit. A timer that
    runs already, such as that of a test runner, goes on afterwards.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(
        signal, "setitimer"
    ):
        yield
        return
    before = signal.signal(signal.SIGALRM, _ring)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, left)


def _ring(number: int, frame: FrameType | None) -> None:
    raise TooLong


def guarded(what: str, seconds: float, function: Callable[[], Any]) -> Any:
    """What a call returns; a Fault if it raises anything, or does not end in time. Warnings say
    nothing here: what they warn of is seen in the answer."""
    try:
        with limited(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function()
    except TooLong:
        raise Endless(f"{what} did not end within {seconds:g} s") from None
    except (Exception, SystemExit) as error:
        raise Fault(f"{what} raised {type(error).__name__}: {error}") from error
