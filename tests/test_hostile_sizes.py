"""Absurd sizes: planned at no cost, refused before anything of that size is made."""

import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

import mcore
from mcore import machine
from mcore.cli import main
from mcore.errors import ShapeError, SpecError
from mcore.machine import amount, beyond
from mcore.spec import load_spec
from mcore.training.need import check_batch, check_parameters

MOST = 2**31 - 1
SMALL = {"width": 8, "depth": 1, "heads": 1}
MQAR = {"task": "mqar", "vocab": 8, "length": 8, "pairs": 2}

ABSURD: dict[str, dict[str, Any]] = {
    "length": {
        "data": {**MQAR, "length": MOST},
        "memory": {"segmentation": {"kind": "constant", "length": 1}, "readout": "grm"},
    },
    "width": {"model": {"width": MOST, "heads": 1, "mlp": 1e6}},
    "vocab": {"data": {**MQAR, "vocab": MOST}, "model": {**SMALL, "width": 2**20}},
    "conv": {"model": {**SMALL, "width": 2**10, "conv": MOST}},
    "batch": {"train": {"batch": MOST}},
}


@pytest.mark.parametrize("changes", ABSURD.values(), ids=ABSURD.keys())
def test_planned_at_once_and_never_made(changes: dict[str, Any]) -> None:
    spec = load_spec({"model": SMALL, "data": MQAR, "backend": "reference", **changes})
    begun, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    plan = mcore.plan(spec)
    assert plan.parameters > 0
    assert str(plan)
    with pytest.raises(
        SpecError, match=r"and this machine has .* of memory; a smaller .* would do"
    ):
        mcore.train(spec, "never-made")
    assert time.process_time() - begun < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize(
    ("setting", "most"),
    [
        ("model.depth=1025", "1024"),
        ("model.mlp=1000001.0", "1"),
        ("memory.readout.top_k=65537", "6"),
    ],
)
def test_narrower_ranges_hold(setting: str, most: str) -> None:
    """A field's range is that of its own line, not the wider one of its type."""
    cut = {"segmentation": {"kind": "constant", "length": 4}, "readout": "ssc"}
    with pytest.raises(SpecError, match=rf"--set: {setting.split('=')[0]}: .*{most}"):
        load_spec({"memory": cut}, [setting])


def test_counts_do_not_overflow() -> None:
    spec = load_spec({"model": {"width": MOST, "heads": 1}, "backend": "reference"})
    assert mcore.plan(spec).parameters > 2**63


def test_no_divisor_is_looked_for_one_by_one() -> None:
    begun = time.process_time()
    with pytest.raises(SpecError, match="1 heads would do"):
        load_spec({"model": {"width": MOST, "heads": 2**30}})
    assert time.process_time() - begun < 1


def test_deep_paths() -> None:
    with pytest.raises(SpecError, match="leads more than 16 deep"):
        load_spec({}, ["a" + ".a" * 5000 + "=1"])
    with pytest.raises(SpecError, match="leads more than 16 deep"):
        load_spec({"compare": {"x": {"a" + ".a" * 5000: 1}}})


def test_what_fits_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load_spec({"model": SMALL, "data": MQAR})
    monkeypatch.setattr(machine, "memory_bytes", lambda: 40_000)
    check_batch(spec)
    check_parameters(2500, "float32")
    with pytest.raises(SpecError, match=r"to train 2,501 parameters takes 39\.0 KiB"):
        check_parameters(2501, "float32")
    monkeypatch.setattr(machine, "memory_bytes", lambda: None)
    assert beyond(10**30) is None


@pytest.mark.parametrize(
    ("size", "text"),
    [(1023, "1023 B"), (1024, "1.0 KiB"), (2**40 + 2**39, "1.5 TiB"), (2**83, "8,388,608.0 EiB")],
)
def test_amounts(size: int, text: str) -> None:
    assert amount(size) == text


def test_out_of_memory_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise MemoryError("Unable to allocate 4.00 TiB")

    monkeypatch.setattr(mcore.backend, "report", fail)
    assert main(["backends"]) == 1
    assert capsys.readouterr().err == "mcore: out of memory: Unable to allocate 4.00 TiB\n"


def test_another_number_of_streams() -> None:
    session = mcore.compile({"model": SMALL, "data": MQAR, "backend": "reference"}).session()
    session.feed(np.zeros((2, 3), np.int64))
    with pytest.raises(ShapeError, match="1 streams, and this session carries 2"):
        session.feed(np.zeros(3, np.int64))
    assert session.feed(np.zeros((2, 1), np.int64)).shape == (2, 1, 8)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space")
def test_a_plan_allocates_nothing() -> None:
    """With 64 MB beside what is loaded, a plan of two billion tokens is printed."""
    code = """
import resource, sys
import mcore
small = {"data": {"task": "mqar", "vocab": 8, "length": 8, "pairs": 2}, "backend": "reference"}
str(mcore.plan(small))
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 2**26, now + 2**26))
memory = {"segmentation": {"kind": "constant", "length": 1}, "readout": "grm"}
print(mcore.plan({**small, "memory": memory, "data": {**small["data"], "length": 2**31 - 1}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2147483647 tokens per sequence" in done.stdout
