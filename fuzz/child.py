"""The process that fuzzes one target: coverage-guided with atheris, else by mutation alone."""

import contextlib
import json
import os
import random
import resource
import sys
import tempfile
import time
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MEMORY = 3 << 30
"""Bytes of address space that inputs may make a process grow by."""


def main(argv: list[str]) -> None:
    """`python -m fuzz.child TARGET SECONDS SEED FOLDER [plain]`; FOLDER is for what is found."""
    name, seconds, seed, keep = argv[0], float(argv[1]), int(argv[2]), Path(argv[3])
    guided = find_spec("atheris") is not None and "plain" not in argv
    if guided:
        _instrument(name)
    from fuzz.targets import TARGETS
    from fuzz.verdict import Judge

    target = TARGETS[name]
    seeds = target.seeds()
    scratch = "/dev/shm" if Path("/dev/shm").is_dir() else None
    keep.mkdir(parents=True, exist_ok=True)
    os.fsync = lambda fd: None  # what a disk does is not what is tested here
    with tempfile.TemporaryDirectory(prefix="mcore-fuzz-", dir=scratch) as folder:
        Path(folder, "input").mkdir()
        hunt = Hunt(Judge(target, Path(folder, "input")), keep)
        for data in seeds:
            hunt.try_(data)
        _limit_memory()
        if guided:
            _guided(hunt, seeds, seconds, seed)
        else:
            plain(hunt, seeds, seconds, random.Random(seed))
            print(f"#{hunt.runs} DONE", file=sys.stderr)


class Hunt:
    """Judges inputs, and keeps the first of each kind that is wrong."""

    def __init__(self, judge: Any, keep: Path) -> None:
        self.judge, self.keep, self.runs = judge, keep, 0
        self.found: set[tuple[str, str]] = set()

    def try_(self, data: bytes) -> None:
        """Judge one input."""
        self.runs += 1
        finding = self.judge.judge(data)
        if finding is None or finding.key in self.found:
            return
        self.found.add(finding.key)
        name = f"{self.judge.target.name}-{sha256(data).hexdigest()[:12]}"
        (self.keep / name).write_bytes(data)
        record = {"input": name, **vars(finding)}
        with (self.keep / "findings.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def plain(hunt: Hunt, seeds: list[bytes], seconds: float, rng: random.Random) -> None:
    """Mutations of mutations, up to five deep, for some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = rng.choice(seeds)
        for _ in range(rng.randint(1, 5)):
            data = hunt.judge.target.mutate(data, rng)
        hunt.try_(data)


def _instrument(name: str) -> None:
    import atheris

    from fuzz.instrument import MODULES

    with atheris.instrument_imports(include=list(MODULES)):
        import fuzz.targets  # noqa: F401
        import mcore.live.keeper
        import mcore.live.reader
        import mcore.live.source
        import mcore.session
        import mcore.spec.compile
        import mcore.spec.load
        import mcore.spec.plan
        import mcore.spec.restore
        import mcore.training
        import mcore.weights  # noqa: F401


def _guided(hunt: Hunt, seeds: list[bytes], seconds: float, seed: int) -> None:
    import atheris

    target = hunt.judge.target

    def mutate(data: bytes, most: int, number: int) -> bytes:
        rng = random.Random(number)
        if rng.random() < 0.2:
            return bytes(atheris.Mutate(data, most))
        with contextlib.suppress(RecursionError):
            return bytes(target.mutate(data, rng)[:most])
        return bytes(data)

    corpus = Path(tempfile.mkdtemp(prefix="mcore-fuzz-corpus-"))
    for number, data in enumerate(seeds):
        (corpus / str(number)).write_bytes(data)
    options = [
        f"-max_total_time={int(seconds)}",
        f"-seed={seed + 1}",
        "-max_len=65536",
        "-timeout=60",
        "-rss_limit_mb=4000",
        f"-artifact_prefix={hunt.keep}/{target.name}-died-",
        "-print_final_stats=1",
    ]
    atheris.Setup(["fuzz", *options, str(corpus)], hunt.try_, custom_mutator=mutate)
    atheris.Fuzz()


def _limit_memory() -> None:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    now = int(pages) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))


if __name__ == "__main__":
    main(sys.argv[1:])
