"""Begin a run, or go on with one: the model of a spec, then the variants it compares."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcore.data import SeriesTask, Task, compression_table, make_task
from mcore.data.text import Text
from mcore.errors import SnapshotError
from mcore.model import Model
from mcore.plain_file import inside, there
from mcore.snapshot import write_whole, writing
from mcore.spec.compare import variants
from mcore.spec.compile import device_bytes
from mcore.spec.dump import dump_spec
from mcore.spec.load import parse_spec
from mcore.spec.schema import Spec
from mcore.training.display import Display, choose_display
from mcore.training.interrupt import Interrupted, Interrupts
from mcore.training.loop import Loop, Setting
from mcore.training.need import check_batch, check_parameters
from mcore.training.protocols import Compile, Trainable
from mcore.training.record import describe_run, differences
from mcore.training.result import Result
from mcore.training.run_folder import RunFolder, create, create_numbered

RESULT, INFO = "result.json", "run.json"


def run(
    spec: Spec,
    compile_model: Compile,
    out: str | Path | None = None,
    name: str | None = None,
    display: Display | None = None,
) -> Result:
    """Train the model of a spec, and then each variant in `compare`, in a new folder.

    Args:
        compile_model: makes a fresh model from a spec.
        out: the folder; runs/NAME-1, runs/NAME-2, ... if not given.
        name: NAME; the task's name if not given.

    Raises:
        SnapshotError: `out` has something in it already.
        DataError, BackendError: before anything is written, for all variants.
        NonFiniteError: NaN or infinity.
        Interrupted: after Ctrl-C or SIGTERM, once a snapshot is written.
    """
    for each in (spec, *variants(spec).values()):
        _made(each, compile_model)
    folder = create(Path(out)) if out else create_numbered(name or spec.data.task)
    write_whole(folder.spec, dump_spec(spec).encode())
    return _Runner(compile_model, display or choose_display(False, False)).all(spec, folder)


def resume(path: str | Path, compile_model: Compile, display: Display | None = None) -> Result:
    """Go on with a run where it stands, through its variants; a finished one is only reported.

    Raises: as `run`; SnapshotError when the folder is not that of a run, or no snapshot is good.
    """
    folder = RunFolder(Path(path))
    folder.check_links()
    spec = parse_spec(folder.spec_text(), str(folder.spec))
    return _Runner(compile_model, display or choose_display(False, False)).all(spec, folder)


@dataclass(frozen=True)
class _Runner:
    compile_model: Compile
    display: Display

    def all(self, spec: Spec, folder: RunFolder) -> Result:
        """The run, then its variants, whatever of them is not finished yet."""
        with Interrupts() as interrupts:
            try:
                result = self._one(spec, folder, folder.path.name, interrupts)
                parts = _variant_folders(spec, folder)
                others = {
                    name: self._one(variant, part, f"{folder.path.name}/{name}", interrupts)
                    for name, variant, part in parts
                }
            except Interrupted as stopped:
                raise stopped.of(folder.path) from None
        return replace(result, comparison=others)

    def _one(self, spec: Spec, folder: RunFolder, title: str, interrupts: Interrupts) -> Result:
        if (done := folder.read_json(RESULT)) is not None:
            return Result.from_json(folder.path, done)
        task, model = _made(spec, self.compile_model)
        if isinstance(task, SeriesTask) and isinstance(model, Model):
            model.standardise(task.statistics())
        loop = Loop(Setting(spec, model, task, folder, self.display, interrupts))
        device = getattr(getattr(model, "backend", None), "device", None)
        self._describe(describe_run(spec, task, getattr(device, "name", None)), folder)
        self._restore(loop, folder)
        self.display.start(title, loop.state.step, spec.train.steps)
        try:
            loop.run()
        finally:
            self.display.stop()
        result = _result(loop, model, spec)
        folder.write_json(RESULT, result.to_json())
        return result

    def _describe(self, now: dict[str, Any], folder: RunFolder) -> None:
        then = folder.read_json(INFO)
        if then is None:
            folder.write_json(INFO, now)
            return
        for note in differences(then, now):
            self.display.note(note)

    def _restore(self, loop: Loop, folder: RunFolder) -> None:
        snapshot, warning = folder.load()
        if warning:
            self.display.note(warning)
        if snapshot is None:
            folder.forget_after(0, 0)
        elif snapshot.spec != folder.spec_text():
            changed = "is not the spec that the run began with; put it back, or begin a new run"
            raise SnapshotError(f"{folder.spec}: {changed}")
        else:
            loop.restore(snapshot)


def _variant_folders(spec: Spec, folder: RunFolder) -> Iterator[tuple[str, Spec, RunFolder]]:
    for name, variant in variants(spec).items():
        part = RunFolder(inside(folder.path, folder.path / "compare" / name))
        part.check_links()
        if not there(part.spec):
            with writing(part.path):
                part.path.mkdir(parents=True, exist_ok=True)
            write_whole(part.spec, dump_spec(variant).encode())
        yield name, variant, part


def _made(spec: Spec, compile_model: Compile) -> tuple[Task, Trainable]:
    """The task and a fresh model, unless there is too little memory for a step."""
    check_batch(spec)
    task = make_task(spec.data, spec.train.batch, spec.train.seed)
    model = compile_model(spec)
    device = device_bytes(model.backend) if isinstance(model, Model) else None
    check_parameters(sum(p.size for p in model.params.values()), spec.dtype, device)
    return task, model


def _result(loop: Loop, model: Trainable, spec: Spec) -> Result:
    state, task = loop.state, loop.setting.task
    evaluation, best = state.evaluation, state.best
    assert evaluation is not None and best is not None
    return Result(
        run=loop.setting.folder.path,
        step=state.step,
        loss=evaluation.loss,
        metric=evaluation.metric,
        value=evaluation.value,
        best=best,
        more=evaluation.more,
        parameters=sum(p.size for p in model.params.values()),
        state_bytes=model.state_bytes(spec.data.length),
        tokens_per_second=loop.speed.overall(),
        seconds=round(state.seconds, 3),
        compression=tuple(compression_table(task.documents())) if isinstance(task, Text) else (),
    )
