"""The next batch, made while a device works on this one."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

from mcore.data import Batch, PackedBatch, Task

AnyRows = Batch | PackedBatch


class Ahead:
    """The training batches of a task, one ahead: they are functions of the step alone.

    A training step on a device leaves the host idle. What is asked for twice in a row is kept.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._made: dict[int, Future[AnyRows]] = {}

    def train_batch(self, step: int) -> AnyRows:
        """That of the task."""
        for wanted in (step, step + 1):
            if wanted not in self._made:
                self._made[wanted] = self._maker.submit(self._task.train_batch, wanted)
        self._made = {step: self._made[step], step + 1: self._made[step + 1]}
        return self._made[step].result()

    @cached_property
    def _maker(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="mcore-batches")
