"""Hostile input in short: some hundred mutations, and every input that was ever wrong.

`python -m fuzz` does it for as long as you like, guided by coverage; see docs/hostile-input.md.
"""

import os
import random
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from fuzz.signed import change_signed, opened
from fuzz.targets import TARGETS
from fuzz.verdict import Finding, Judge
from mcore.errors import McoreError
from mcore.snapshot import read_snapshot

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and address space")

CORPUS = Path(__file__).parent / "fuzz_corpus"
COMPILES = {"kernels"}
"""Targets whose kernels take long to compile; `python -m fuzz` runs them."""

MUTATIONS = {"spec": 40, "overrides": 120, "snapshot": 120, "session": 200, "text": 120}
"""How many, for each target; 25 for files of a run's folder."""

NEEDS = {"series-parquet": "pyarrow"}
"""Targets, and the packages that they need."""

NAMES = [
    name
    for name in TARGETS
    if name not in COMPILES and (name not in NEEDS or find_spec(NEEDS[name]))
]


@pytest.fixture
def here() -> Iterator[None]:
    """Back to the working directory afterwards."""
    before = Path.cwd()
    yield
    os.chdir(before)


@pytest.mark.parametrize("name", NAMES)
def test_mutations(name: str, tmp_path: Path, here: None) -> None:
    target, rng = TARGETS[name], random.Random(7)
    judge, seeds = Judge(target, tmp_path), target.seeds()
    wrong: dict[tuple[str, str], tuple[Finding, bytes]] = {}
    for _ in range(MUTATIONS.get(name, 25)):
        data = rng.choice(seeds)
        for _ in range(rng.randint(1, 3)):
            data = target.mutate(data, rng)
        if finding := judge.judge(data):
            wrong[finding.key] = finding, data
    assert not wrong


@pytest.mark.parametrize("name", NAMES)
def test_what_was_once_wrong(name: str, tmp_path: Path, here: None) -> None:
    inputs = sorted((CORPUS / name).glob("*"))
    assert inputs, f"no inputs in {CORPUS / name}"
    judge = Judge(TARGETS[name], tmp_path)
    wrong = {path.name: judge.judge(path.read_bytes()) for path in inputs}
    assert not {input: finding for input, finding in wrong.items() if finding}


class Misbehaving:
    """A target that does what the input says."""

    name = "misbehaving"

    def seeds(self) -> list[bytes]:
        """None."""
        return []

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """None."""
        return data

    def run(self, data: bytes, folder: Path) -> None:
        """Misbehave."""
        if data == b"escape":
            (folder.parent / "outside").write_bytes(b"")
        elif data == b"hidden escape":
            try:
                (folder.parent / "outside").write_bytes(b"")
            except BaseException:
                return
        elif data == b"run":
            os.system("true")
        elif data == b"crash":
            raise KeyError(data)
        elif data == b"mumble":
            raise McoreError("\n")
        elif data == b"refuse":
            raise McoreError("no")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"escape", "Escape"),
        (b"hidden escape", "Escape"),
        (b"run", "Escape"),
        (b"crash", "KeyError"),
        (b"mumble", "Unclear"),
        (b"refuse", None),
        (b"fine", None),
    ],
)
def test_the_judge_can_tell(data: bytes, kind: str | None, tmp_path: Path, here: None) -> None:
    (tmp_path / "in").mkdir()
    finding = Judge(Misbehaving(), tmp_path / "in").judge(data)
    assert (finding and finding.kind) == kind
    assert not (tmp_path / "outside").exists()


def test_mutated_snapshots_get_past_the_digest(tmp_path: Path) -> None:
    """Else nothing behind it would be tested."""
    seed, rng, passed = TARGETS["snapshot"].seeds()[0], random.Random(3), 0
    for number in range(100):
        data = change_signed(seed, rng)
        path = tmp_path / str(number)
        path.write_bytes(data)
        if data == seed or opened(data) is None:
            continue
        try:
            read_snapshot(path)
        except McoreError:
            continue
        passed += 1
    assert passed >= 15
