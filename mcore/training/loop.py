"""The training loop of one run: step, log, evaluate, save, stop when asked.

Everything that decides a number is in the snapshot or a pure function of the step, so a run that
is killed and resumed ends with the same bits as one that is not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mcore.data import Batch, Task
from mcore.model.room import within
from mcore.snapshot import Snapshot, copy_into
from mcore.spec.schema import Spec
from mcore.training.ahead import Ahead
from mcore.training.display import Display
from mcore.training.evaluate import Evaluation, evaluate, score
from mcore.training.interrupt import Interrupted, Interrupts
from mcore.training.optim import make_optimizer
from mcore.training.protocols import Trainable
from mcore.training.resumed import rows_of, state_of
from mcore.training.run_folder import RunFolder
from mcore.training.speed import Speed
from mcore.training.state import State
from mcore.training.step import take_step
from mcore.training.truncate import Rows

CARRIED = "carried/"
"""Where a snapshot keeps the state that rows carry from step to step."""


@dataclass(frozen=True)
class Setting:
    """What a run is made of: the question, the model, the data, and where things go."""

    spec: Spec
    model: Trainable
    task: Task
    folder: RunFolder
    display: Display
    interrupts: Interrupts


class _Stop(Exception):
    """Leaves an evaluation that a signal broke off."""


class Loop:
    """Trains one model to the last step of its spec."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.state, self.speed = setting, State(), Speed()
        self._saved = self.state.point()
        length, truncate = setting.spec.data.length, setting.spec.train.truncate
        on_device = hasattr(getattr(setting.model, "backend", None), "room")
        task = Ahead(setting.task) if on_device else setting.task
        self.rows = Rows(task, length, truncate)
        with within(setting.model, setting.spec.train.batch, truncate or length):
            self.optimizer = make_optimizer(setting.model, setting.spec.train.optimizer)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot; metrics past it are dropped.

        Raises: SnapshotError when it is of another model, or of no run.
        """
        setting, steps = self.setting, self.setting.spec.train.steps
        self.state = state_of(snapshot, steps)
        copy_into(setting.model.arrays, snapshot.params)
        carried = {n for n in snapshot.optimizer if n.startswith(CARRIED)}
        moments = {n: a for n, a in snapshot.optimizer.items() if n not in carried}
        self.optimizer.restore(moments, snapshot.step)
        if carried:
            rows = {n.removeprefix(CARRIED): snapshot.optimizer[n] for n in carried}
            self.rows.state = rows_of(rows, setting.model, setting.task.train_batch(1))
        self._saved = self.state.point()
        setting.folder.forget_after(self.state.step, self.state.evaluated)

    def run(self) -> None:
        """Train, evaluate and save to the end.

        Raises: NonFiniteError at the first NaN or infinity; Interrupted, after saving, when a
        signal asked to stop.
        """
        train, interrupts = self.setting.spec.train, self.setting.interrupts
        while True:
            if self._due(train.eval_every) and self.state.evaluated != self.state.step:
                self._evaluate()
            if self._due(train.save_every) or interrupts.signal is not None:
                self._save()
            if interrupts.signal is not None:
                raise Interrupted(self.setting.folder.path, self.state.step, interrupts.signal)
            if self.state.step == train.steps:
                return
            self._step()

    def _due(self, every: int) -> bool:
        """At multiples of `every` (0: none) and at the end."""
        step = self.state.step
        return step == self.setting.spec.train.steps or bool(every and step and step % every == 0)

    def _step(self) -> None:
        setting, step = self.setting, self.state.step + 1
        batch = self.rows.batch(step)
        self.speed.start()
        taken = take_step(step, batch, setting.model, self.optimizer, setting.spec.train)
        self.speed.stop(batch.tokens.shape[0] * batch.tokens.shape[1])
        if setting.spec.train.truncate is not None:
            self.rows.keep(step, setting.model.end(taken.saved))
        self.state.step = step
        setting.display.advance(step)
        if step == 1 or self._due(setting.spec.train.log_every):
            loss = taken.loss
            result = score(loss.value, loss.correct / max(loss.count, 1), setting.task.metric)
            rates = {"lr": taken.lr, "grad_norm": taken.grad_norm}
            self._record("train", result, rates | {"tokens_per_second": self.speed.recent()})

    def _evaluate(self) -> None:
        setting, state = self.setting, self.state
        try:
            result = evaluate(setting.model, self._held_out(), setting.task.metric, state.step)
        except _Stop:
            return
        state.evaluated, state.evaluation = state.step, result
        if result.better_than(state.best):
            state.best = result.value
            setting.folder.save_best(self._snapshot({}, {"evaluation": result.to_json()}))
        self._record("eval", result, {})

    def _held_out(self) -> Iterator[Batch]:
        for batch in self.setting.task.eval_batches():
            if self.setting.interrupts.signal is not None:
                raise _Stop
            yield batch

    def _save(self) -> None:
        if self._saved == self.state.point():
            return
        self.state.seconds += self.speed.seconds
        self.speed.seconds = 0.0
        arrays = self.optimizer.state()
        arrays |= {CARRIED + name: array for name, array in self.rows.state.items()}
        self.setting.folder.save(self._snapshot(arrays, self.state.to_json()))
        self._saved = self.state.point()

    def _snapshot(self, optimizer: Mapping[str, Any], state: Mapping[str, Any]) -> Snapshot:
        text = self.setting.folder.spec_text()
        return Snapshot(text, self.setting.model.arrays, self.state.step, optimizer, state)

    def _record(self, kind: str, result: Evaluation, numbers: Mapping[str, Any]) -> None:
        record = {"kind": kind, "step": self.state.step, "loss": result.loss}
        record |= {result.metric: result.value, **result.more, **numbers}
        record["seconds"] = round(self.state.seconds + self.speed.seconds, 3)
        self.setting.folder.append(record)
        self.setting.display.record(record)
