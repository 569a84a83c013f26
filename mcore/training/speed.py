"""Tokens per second of training, without evaluations, snapshots and the first step."""

import time


class Speed:
    """Adds up training steps; the first one compiles kernels and does not count."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._all = [0.0, 0.0]
        self._recent = [0.0, 0.0]
        self._warm = False
        self._start = 0.0

    def start(self) -> None:
        """A step begins."""
        self._start = time.perf_counter()

    def stop(self, tokens: int) -> None:
        """A step of so many tokens is done."""
        seconds = time.perf_counter() - self._start
        self.seconds += seconds
        for total in (self._all, self._recent) if self._warm else ():
            total[0] += tokens
            total[1] += seconds
        self._warm = True

    def recent(self) -> float | None:
        """Tokens per second since the last call; None if nothing counts yet."""
        rate, self._recent = _rate(self._recent), [0.0, 0.0]
        return rate

    def overall(self) -> float | None:
        """Tokens per second of all steps that count."""
        return _rate(self._all)


def _rate(total: list[float]) -> float | None:
    tokens, seconds = total
    return round(tokens / seconds, 1) if tokens else None
