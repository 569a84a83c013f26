"""No files, links that lead out, disks that are full: one clear line, and nothing is lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bigram import Bigram, small_spec

import mcore
from mcore import training
from mcore.cli import main
from mcore.data.files import named_files
from mcore.errors import DataError, McoreError, SnapshotError, SpecError
from mcore.plain_file import read_plain
from mcore.snapshot import Snapshot, read_snapshot, write_snapshot, write_whole
from mcore.spec import load_spec
from mcore.training.display import Quiet

QUIET = Quiet()
POSIX = pytest.mark.skipif(os.name == "nt", reason="pipes and links")
SPEC: dict[str, Any] = {
    "model": {"width": 8, "depth": 1, "heads": 1},
    "data": {"task": "mqar", "vocab": 8, "length": 8, "pairs": 2},
    "backend": "reference",
}


def told(kind: type[McoreError], action: Any) -> str:
    """The one line that an action ends with."""
    with pytest.raises(kind) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(params=["pipe", "folder", "loop", "device"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Something that has a name and is no file."""
    path = tmp_path / "odd"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "folder":
        path.mkdir()
    else:
        path.symlink_to(path if request.param == "loop" else "/dev/zero")
    return path


@POSIX
def test_what_is_no_file_is_refused(odd: Path, tmp_path: Path) -> None:
    told(SpecError, lambda: load_spec(odd))
    told(SnapshotError, lambda: read_snapshot(odd))
    told(DataError, lambda: read_plain(odd, 10, DataError))
    told(SnapshotError, lambda: mcore.compile(SPEC).session().restore(odd))
    told(SnapshotError, lambda: mcore.load(odd))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The folder of a run whose result is not written yet."""
    training.run(small_spec(steps=6), Bigram, tmp_path / "run", display=QUIET)
    (tmp_path / "run" / "result.json").unlink()
    return tmp_path / "run"


@POSIX
@pytest.mark.parametrize(
    "name", ["spec.yaml", "run.json", "metrics.jsonl", "last.safetensors", "result.json"]
)
def test_pipes_in_a_runs_folder(name: str, finished: Path) -> None:
    (finished / name).unlink(missing_ok=True)
    (finished / "previous.safetensors").unlink(missing_ok=True)
    os.mkfifo(finished / name)
    assert "pipe" in told(SnapshotError, lambda: training.resume(finished, Bigram, QUIET))


@POSIX
@pytest.mark.parametrize("name", ["metrics.jsonl", "last.safetensors", "spec.yaml", "compare"])
def test_links_out_of_a_runs_folder(name: str, finished: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    if name == "compare":
        victim.mkdir()
    else:
        shutil.move(finished / name, victim)
    before = victim.read_bytes() if victim.is_file() else b""
    (finished / name).symlink_to(victim)
    message = told(SnapshotError, lambda: training.resume(finished, Bigram, QUIET))
    assert "link that leads out" in message
    assert (victim.read_bytes() if victim.is_file() else b"") == before
    assert not (victim.is_dir() and any(victim.iterdir()))


@POSIX
def test_a_planted_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / ".x.new").symlink_to(tmp_path / "victim")
    write_whole(tmp_path / "x", b"new")
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert (tmp_path / "x").read_bytes() == b"new"
    assert not (tmp_path / ".x.new").is_symlink()


def test_a_snapshot_opens_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its spec names is looked for only where somebody evaluates."""
    (tmp_path / "secret").write_bytes(b"not to be read" * 9)
    data = {"task": "text", "paths": [str(tmp_path / "secret")], "length": 8}
    mcore.compile({**SPEC, "data": data}).save(tmp_path / "a")
    (tmp_path / "secret").unlink()
    assert mcore.load(tmp_path / "a").spec.data.task == "text"


KILLED = """
import os, signal, sys
from pathlib import Path
from mcore.snapshot import write_whole
step, path = sys.argv[1], Path(sys.argv[2])
def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)
if step == "sync":
    os.fsync = die
else:
    Path.replace = die
write_whole(path, b"new" * 1000)
"""


@POSIX
@pytest.mark.parametrize("step", ["sync", "rename"])
def test_killed_while_writing(step: str, tmp_path: Path) -> None:
    """The old file is there, and what is left lying about is in nobody's way."""
    path = tmp_path / "x"
    write_whole(path, b"old")
    done = subprocess.run([sys.executable, "-c", KILLED, step, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert (tmp_path / ".x.new").exists()
    write_whole(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


@pytest.fixture(params=["full", "read-only"])
def bad_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A tiny disk that is full or read-only, and what the system says of it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount")
    try:
        (disk / "old").write_bytes(b"old")
        if request.param == "full":
            with (disk / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError):
                while True:
                    file.write(bytes(4096))
            yield disk, "no space left on device"
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            yield disk, "read-only file system"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_full_and_read_only_disks(
    bad_disk: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    disk, reason = bad_disk
    model = mcore.compile(SPEC)
    session = model.session()
    session.feed(np.zeros(3, np.int64))
    actions = [
        lambda: model.save(disk / "old"),
        lambda: session.save(disk / "old"),
        lambda: write_snapshot(disk / "old", Snapshot("", model.params)),
        lambda: training.run(small_spec(), Bigram, disk / "run", display=QUIET),
    ]
    for action in actions:
        assert told(SnapshotError, action).endswith(reason)
    assert (disk / "old").read_bytes() == b"old"
    assert not list(disk.glob(".*.new"))
    spec = disk.parent / "a.yaml"
    spec.write_text(json.dumps(SPEC))
    assert main(["train", str(spec), "--out", str(disk / "cli")]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].endswith(reason)


def test_a_disk_that_fills_up_while_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run stops with the file's name, and goes on to the same end when there is room."""
    training.run(small_spec(), Bigram, tmp_path / "whole", display=QUIET)
    opened, writes = Path.open, 0

    def open_or_fail(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        nonlocal writes
        writes += mode in ("a", "xb")
        if writes > 9 and mode in ("a", "xb"):
            raise OSError(28, "No space left on device")
        return opened(path, mode, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", open_or_fail)
        out = tmp_path / "run"
        message = told(
            SnapshotError, lambda: training.run(small_spec(), Bigram, out, display=QUIET)
        )
    assert message.endswith("cannot be written: no space left on device")
    result = training.resume(tmp_path / "run", Bigram, QUIET)
    assert result.value == training.resume(tmp_path / "whole", Bigram, QUIET).value


@pytest.mark.parametrize("path", ["a\0b", "", "/", "x" * 300])
def test_names_that_no_file_has(path: str, tmp_path: Path) -> None:
    told(SnapshotError, lambda: mcore.compile(SPEC).save(path))
    told(SnapshotError, lambda: read_snapshot(Path(path)))
    told(SpecError, lambda: load_spec(path))
    if path not in ("", "/"):
        told(DataError, lambda: named_files([path]))


def test_messages_do_not_steer_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "\x1b[31m\u202e.safetensors"
    message = told(SnapshotError, lambda: read_snapshot(path))
    assert "\\x1b[31m\\u202e" in message
    assert message.isprintable()


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "a", Snapshot("", {"a": np.ones(1000)}))
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content[:-8])
    assert "are there" in told(SnapshotError, lambda: read_snapshot(tmp_path / "a"))


@POSIX
def test_a_sparse_file_larger_than_memory(tmp_path: Path) -> None:
    """Its header is right, its digest is never computed, nothing is allocated."""
    count = 1 << 40
    header = {"a": {"dtype": "F64", "shape": [count], "data_offsets": [0, 8 * count]}}
    text = json.dumps(header).encode()
    with (tmp_path / "a").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        try:
            file.truncate(8 + len(text) + 8 * count)
        except OSError:
            pytest.skip("the file system has no such large files")
    assert "TiB" in told(SnapshotError, lambda: read_snapshot(tmp_path / "a"))


@POSIX
def test_names_that_no_encoding_has(tmp_path: Path) -> None:
    """They are printed as escapes, and no spec that could not be written down is taken."""
    path = Path(os.fsdecode(bytes(tmp_path) + b"/\xff.yaml"))
    path.write_text("data: mqar\n")
    command = [sys.executable, "-m", "mcore.cli", "spec", "check", str(path)]
    done = subprocess.run(command, capture_output=True, cwd=Path(__file__).parents[1], check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"\\udcff.yaml: ok\n")
    told(SpecError, lambda: load_spec({"data": {"task": "text", "paths": [path]}}))


FORBIDDEN = """
import os, sys
from mcore.cli import main
for folder in ("/dev/null/x", sys.argv[1]):
    if folder == sys.argv[1] and os.getuid() == 0:
        os.setuid(65534)  # by now all that is imported late has been
    for command in (
        ["spec", "check", f"{folder}/a.yaml"],
        ["evaluate", f"{folder}/run"],
        ["train", "--resume", f"{folder}/run"],
        ["train", "tests/specs/smallest.yaml", "--out", f"{folder}/new"],
        ["plan", "tests/specs/text.yaml", "--set", f"data={{task: text, paths: [{folder}/a]}}"],
    ):
        print(main(command), file=sys.stderr)
"""


@POSIX
def test_folders_that_may_not_be_entered(tmp_path: Path) -> None:
    """Two lines for each command: what is wrong, and the exit code; no traceback."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    command = [sys.executable, "-c", FORBIDDEN, str(locked / "x")]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) == 20, done.stderr
    assert lines[1::2] == ["2"] * 10
    assert sum("permission denied" in line for line in lines[10:]) >= 2
