"""A file of a run's folder, found by those who resume, load or evaluate the run."""

import random
import tempfile
from functools import cached_property
from pathlib import Path

import mcore
from fuzz.mutate import change_bytes, change_json, change_lines
from fuzz.signed import change_signed
from fuzz.targets.small import SPEC, compile_small
from fuzz.yaml_text import change_yaml

RUN_FILES = ("run.json", "result.json", "metrics.jsonl", "spec.yaml", "last.safetensors")


class RunFile:
    """`mcore train --resume`, with one file of the folder replaced.

    With `truncate`, the run stands between two pieces of its rows, whose state it carries.
    """

    def __init__(self, file: str, truncate: int | None = None) -> None:
        self.file, self.truncate = file, truncate
        self.name = "carried" if truncate else file.replace(".", "-")

    def seeds(self) -> list[bytes]:
        """What training writes; what planning loads is loaded now."""
        mcore.plan({})
        return [self._files[self.file]]

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """As the kind of file asks."""
        if self.file.endswith(".safetensors"):
            return change_signed(data, rng)
        if self.file.endswith(".yaml"):
            return change_yaml(data, rng)
        if self.file.endswith(".json"):
            return change_json(data, rng) if rng.random() < 0.8 else change_bytes(data, rng)
        return _lines(data, rng)

    def run(self, data: bytes, folder: Path) -> None:
        """Resume a run that was stopped after its last step, or is finished."""
        from mcore import training
        from mcore.training.display import Quiet
        from mcore.training.report import summary, table

        run = folder / "run"
        run.mkdir()
        finished = self.file == "result.json"
        for name, content in {**self._files, self.file: data}.items():
            if finished or name != "result.json":
                (run / name).write_bytes(content)
        result = training.resume(run, compile_small, Quiet())
        summary(result), table(result)

    @cached_property
    def _files(self) -> dict[str, bytes]:
        from mcore import training
        from mcore.spec import load_spec
        from mcore.training.display import Quiet

        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder, "run")
            train = {"steps": 3, "batch": 2, "save_every": 1, "truncate": self.truncate}
            training.run(load_spec({**SPEC, "train": train}), compile_small, run, display=Quiet())
            files = {file.name: file.read_bytes() for file in run.iterdir()}
        if self.truncate:
            files["last.safetensors"] = files["previous.safetensors"]
        files.pop("previous.safetensors")
        return files


def _lines(data: bytes, rng: random.Random) -> bytes:
    """One line of JSON changed."""
    if rng.random() < 0.3:
        return change_lines(data, rng) if rng.random() < 0.5 else change_bytes(data, rng)
    lines = data.split(b"\n")
    here = rng.randrange(len(lines))
    lines[here] = change_json(lines[here], rng)
    return b"\n".join(lines)
