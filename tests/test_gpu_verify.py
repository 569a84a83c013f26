"""`mcore verify` on a GPU, emulated: memories answer on the device, and the host compares."""

from collections.abc import Iterator

import pytest
from gpu_memories import GPU
from typer.testing import CliRunner

import mcore
from mcore.backend import get_backend
from mcore.cli.app import app
from mcore.testing.agreement import Memory
from mcore.testing.hosted import hosted
from mcore.testing.strategies import Composition
from mcore.testing.theorems.search import Effort
from mcore.testing.theorems.subject import Memories
from mcore.testing.verify import every_axes, verify


class OnDevice(Memories):
    """Memories whose operations run in the reference, between arrays of the device."""

    def make(self, composition: Composition) -> Memory:
        return hosted(mcore.memory(**composition, backend=GPU, dtype=self.dtype), GPU.xp)

    def typed(self, dtype: str) -> "OnDevice":
        return OnDevice(self.name, dtype, self.axes)


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The registered backend runs on the CPU."""
    monkeypatch.setenv("MCORE_EMULATED_GPU", "1")
    get_backend.cache_clear()
    yield
    get_backend.cache_clear()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_all_theorems_hold_on_the_device(dtype: str) -> None:
    report = verify(OnDevice("cupy", dtype, every_axes()), Effort(examples=2))
    assert report.ok, str(report)


@pytest.mark.usefixtures("emulated")
def test_the_command_runs_on_the_registered_backend() -> None:
    arguments = ["verify", "--backend", "cupy", "--examples", "1", "--only", "causality"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "causality" in done.output and "all hold" in done.output
