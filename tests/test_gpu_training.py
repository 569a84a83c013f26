"""Models trained on an emulated GPU: the numbers of `numba`, and nobody waits inside a step."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from gpu_models import SMALL, gradients, off, on_gpu, spec_of, trained
from run_folders import same_runs

import mcore
from mcore import training
from mcore.backend import get_backend
from mcore.backends.cupy_gpu.emulation.array import DeviceArray, traffic
from mcore.backends.cupy_gpu.emulation.memory import limited
from mcore.cli import main
from mcore.data import Batch
from mcore.errors import NonFiniteError
from mcore.model.footprint import footprint
from mcore.placing import to_host
from mcore.spec import Spec, dump_spec
from mcore.spec.compile import compile
from mcore.training.ahead import Ahead
from mcore.training.display import Quiet
from mcore.training.sample import optimizer_of, sample
from mcore.training.step import take_step

ALLOWED = 1e-5
QUIET = Quiet()
SPECS: dict[str, dict[str, Any]] = {
    "gated_delta and grm": {},
    "linear and ssc": {
        "memory": {
            "recurrence": {"kind": "linear", "feature_map": "elu1", "normalize": True},
            "readout": {"kind": "ssc", "top_k": 1},
        },
        "model": {"tied": False, "conv": 0},
    },
    "lstm, carried on": {"memory": {"recurrence": "lstm", "start": "checkpoint"}},
    "mamba2": {"memory": {"recurrence": "mamba2"}},
    "attention beside a memory": {
        "model": {
            "rope": True,
            "blocks": [{"mixer": "parallel", "join": "gate"}, {"mixer": "attention", "window": 4}],
        },
    },
}


@pytest.mark.parametrize("name", SPECS)
def test_a_step_is_numbas(name: str) -> None:
    """Loss and gradients of a step, and the parameters after three."""
    spec = spec_of(**SPECS[name])
    mine, theirs = on_gpu(spec), compile(spec, backend="numba", threads=1)
    batch = next(sample(theirs, 3, 13))
    (loss, grads), (wanted, others) = gradients(mine, batch), gradients(theirs, batch)
    assert loss == pytest.approx(wanted, rel=ALLOWED)
    assert off(grads, others) < ALLOWED
    (losses, params), (known, after) = trained(mine, 3), trained(theirs, 3)
    assert losses == pytest.approx(known, rel=ALLOWED)
    assert off(params, after) < ALLOWED


def series(folder: Path, head: str) -> dict[str, Any]:
    """Sections of a spec of rows with two channels, one value missing."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 13, 2))
    x[3, 4, 1] = np.nan
    np.savez(folder / "rows.npz", x=x, kind=np.arange(12) % 2, size=50 + x[:, 0, 0])
    data: dict[str, Any] = {"task": "series", "paths": [str(folder / "rows.npz")]}
    data |= {"columns": ["a", "b"], "head": head, "length": 13, "validation": 0.3}
    if head == "classify":
        return {**SMALL, "data": data | {"label": "kind", "classes": ["0", "1"], "pool": "mean"}}
    return {**SMALL, "data": data | {"label": "size"}}


@pytest.mark.parametrize("head", ["classify", "regress"])
def test_series_are_numbas(head: str, tmp_path: Path) -> None:
    spec = spec_of(series(tmp_path, head))
    mine, theirs = on_gpu(spec), compile(spec, backend="reference")
    batch = next(sample(theirs, 3, 13))
    (loss, grads), (wanted, others) = gradients(mine, batch), gradients(theirs, batch)
    assert loss == pytest.approx(wanted, rel=ALLOWED)
    assert off(grads, others) < ALLOWED
    outputs, known = mine.forward(batch.tokens)[0], theirs.forward(batch.tokens)[0]
    assert isinstance(outputs, DeviceArray)
    np.testing.assert_allclose(outputs.get(), known, rtol=ALLOWED, atol=ALLOWED)


def test_documents_and_the_backward_of_logits() -> None:
    spec = spec_of(model={"rope": True, "blocks": ["memory", {"mixer": "attention", "window": 3}]})
    mine, theirs = on_gpu(spec), compile(spec, backend="reference")
    tokens = np.random.default_rng(0).integers(0, 20, (2, 13))
    ids = np.array([[0] * 5 + [1] * 8, [4] * 9 + [-1] * 4])
    (y, saved), (wanted, kept) = (m.forward(tokens, document=ids) for m in (mine, theirs))
    np.testing.assert_allclose(to_host(y), wanted, rtol=ALLOWED, atol=ALLOWED)
    dy = np.random.default_rng(1).standard_normal(wanted.shape).astype("float32")
    grads = {name: to_host(x) for name, x in mine.backward(saved, dy).items()}
    assert off(grads, theirs.backward(kept, dy)) < ALLOWED


@pytest.mark.parametrize("name", ["gated_delta and grm", "attention beside a memory"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_all_of_a_model_is_on_the_device_and_a_step_waits_once(name: str, dtype: str) -> None:
    """Tokens, labels and what the embedding's gradient adds up go there; three numbers come back.

    Addresses of gradients go there when they change: a GPU's allocator gives the same ones again.
    """
    spec = spec_of(**SPECS[name])
    model = on_gpu(spec, dtype)
    optimizer = optimizer_of(model)
    held = {**model.params, **optimizer.state()}
    assert all(isinstance(x, DeviceArray) for x in held.values())
    for step in range(1, 4):
        batch = next(sample(model, 3, 13))
        traffic.reset()
        taken = take_step(step, batch, model, optimizer, spec.train)
        assert isinstance(taken.loss.value, float) and isinstance(taken.grad_norm, float)
    assert traffic.down == 1
    assert traffic.up <= 4
    traffic.reset()
    loss, _ = model.loss(batch.tokens, batch.labels)
    assert traffic.down == 0 and isinstance(loss.value, DeviceArray)


def test_a_bad_number_stops_the_step_and_is_found() -> None:
    spec = spec_of()
    model = on_gpu(spec)
    optimizer, batch = optimizer_of(model), next(sample(model, 3, 13))
    model.params["blocks.1.mlp.up.weight"][0, 0] = np.nan
    before = {name: x.get() for name, x in model.params.items()}  # type: ignore[attr-defined]
    with pytest.raises(NonFiniteError, match=r"step 1: NaN .*blocks\.1\.mlp \(mlp\): the param"):
        take_step(1, batch, model, optimizer, spec.train)
    for name, x in model.params.items():
        np.testing.assert_array_equal(to_host(x), before[name])
    assert optimizer.updates == 0


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("backend", ["cupy", "reference"])
def test_a_snapshot_is_read_on_the_other_backend(backend: str, tmp_path: Path) -> None:
    spec = spec_of(backend=backend)
    model, other = compile(spec), "reference" if backend == "cupy" else "cupy"
    model.save(tmp_path / "model.safetensors")
    read = mcore.load(tmp_path / "model.safetensors", [f"backend={other}"])
    assert isinstance(read.params["final.weight"], DeviceArray) == (other == "cupy")
    tokens = np.random.default_rng(0).integers(0, 20, (2, 13))
    found, wanted = (to_host(m.forward(tokens)[0]) for m in (read, model))
    np.testing.assert_allclose(found, wanted, rtol=ALLOWED, atol=ALLOWED)
    session, parts = read.session(), np.split(tokens, [4, 5], axis=1)
    fed = [to_host(session.feed(part)) for part in parts]
    np.testing.assert_allclose(np.concatenate(fed, axis=1), wanted, rtol=ALLOWED, atol=ALLOWED)


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("truncate", [None, 7])
def test_a_run_goes_on_with_the_same_bits(truncate: int | None, tmp_path: Path) -> None:
    """From the snapshot before the last, its rows' states included."""
    spec = spec_of(
        train={"save_every": 1, "steps": 4, "truncate": truncate},
        data={"eval_examples": 4},
        backend="cupy",
    )
    whole, again = tmp_path / "whole", tmp_path / "again"
    training.run(spec, compile, whole, display=QUIET)
    again.mkdir()
    for file in whole.iterdir():
        if file.is_file() and file.name not in ("last.safetensors", "result.json"):
            (again / file.name).write_bytes(file.read_bytes())
    training.resume(again, compile, display=QUIET)
    same_runs(whole, again)


@pytest.mark.usefixtures("emulated")
def test_the_command_line_trains_and_evaluates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = dump_spec(spec_of(train={"steps": 2}, data={"eval_examples": 4}))
    Path("x.yaml").write_text(text)
    chosen = "backend={kind: cupy, device: 0}"
    assert main(["train", "x.yaml", "--set", chosen, "--out", "run", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "run"]) == 0
    assert main(["evaluate", "run", "--set", "backend=reference"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert main(["plan", "x.yaml", "--set", "backend={kind: cupy, device: 3}"]) == 2
    assert "there is no device 3; 0, the only one that is visible" in capsys.readouterr().err
    assert main(["plan", "x.yaml", "--set", "backend={kind: numba, device: 0}"]) == 2
    assert "numba runs on the host; drop it" in capsys.readouterr().err


class NoDriver(ModuleType):
    """CuPy on a machine without a GPU."""

    def __init__(self) -> None:
        super().__init__("cupy")
        self.cuda = self.runtime = self
        self.CUDARuntimeError = OSError

    def getDeviceCount(self) -> int:
        raise OSError("cudaErrorInsufficientDriver")

    def runtimeGetVersion(self) -> int:
        return 13000

    def driverGetVersion(self) -> int:
        return 0


MISSING: dict[str, tuple[ModuleType | None, str]] = {
    "cupy": (None, "CuPy is not installed; pip install 'mcore[cuda13]'"),
    "driver": (NoDriver(), "CuPy is installed, but no NVIDIA driver is loaded on this machine"),
}


@pytest.mark.parametrize("name", MISSING)
def test_without_a_gpu_it_says_at_once_what_is_missing(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module, sentence = MISSING[name]
    monkeypatch.delenv("MCORE_EMULATED_GPU", raising=False)
    monkeypatch.setitem(sys.modules, "cupy", module)
    get_backend.cache_clear()
    (tmp_path / "x.yaml").write_text("backend: cupy\n")
    assert main(["backends"]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("cupy"))
    said = line.partition("not here: ")[2]
    assert said.startswith(f"backend cupy: {sentence}")
    for verb in ("train", "plan"):
        assert main([verb, str(tmp_path / "x.yaml")]) == 2
        assert capsys.readouterr().err.strip() == f"mcore: {said}"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.yaml"]


def peak(spec: Spec, rows: int) -> int:
    """Bytes that a training step took at most, parameters included."""
    with limited(1 << 40) as memory:
        model = on_gpu(spec)
        optimizer = optimizer_of(model)
        batch = next(sample(model, rows, spec.data.length))
        take_step(1, batch, model, optimizer, spec.train)
        return memory.peak


FOOTPRINTS: dict[str, dict[str, Any]] = {
    "float32": {"mlp": 4.0},
    "bfloat16": {"mlp": 2.0, "tied": False},
}


@pytest.mark.parametrize("dtype", FOOTPRINTS)
def test_the_footprint_is_about_what_a_step_takes(dtype: str) -> None:
    spec = spec_of(
        model={"width": 24, **FOOTPRINTS[dtype]},
        data={"length": 60},
        backend="cupy",
        dtype=dtype,
    )
    told = footprint(on_gpu(spec).layout, 60, dtype)
    for rows in (1, 8):
        assert 0.7 < told.size(rows) / peak(spec, rows) < 1.4
    assert told.rows_in(told.size(8)) == 8 and told.rows_in(told.size(8) - 1) == 7


@pytest.mark.usefixtures("emulated")
def test_too_large_a_batch_says_what_would_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = spec_of(train={"batch": 64, "steps": 1}, data={"eval_examples": 4}, backend="cupy")
    path = tmp_path / "x.yaml"
    path.write_text(dump_spec(spec))
    assert main(["plan", str(path)]) == 0
    assert "a step of 64 rows of 13 tokens takes about " in capsys.readouterr().out
    with limited(600_000):
        assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 2
        said = capsys.readouterr().err
        fit = int(said.partition("train.batch: ")[2].partition(" would fit")[0])
        assert "out of memory: the device has 585.9 KiB of its 585.9 KiB" in said and fit < 64
        fits = ["--set", f"train.batch={fit * 4 // 5}", "--out", str(tmp_path / "fits")]
        assert main(["train", str(path), *fits]) == 0
        assert main(["plan", str(path)]) == 0
        assert f"train.batch: {fit} would fit" in capsys.readouterr().out
    with limited(30_000):
        assert main(["train", str(path), "--out", str(tmp_path / "none")]) == 2
    assert "and the device has 29.2 KiB of memory" in capsys.readouterr().err


@pytest.mark.usefixtures("emulated")
def test_a_run_tells_its_device_and_batches_come_one_ahead(tmp_path: Path) -> None:
    spec = spec_of(train={"steps": 1}, data={"eval_examples": 4}, backend="cupy")
    training.run(spec, compile, tmp_path / "run", display=QUIET)
    assert '"device": "emulated on the CPU"' in (tmp_path / "run" / "run.json").read_text()
    asked: list[int] = []

    class Task:
        def train_batch(self, step: int) -> Batch:
            asked.append(step)
            return Batch(np.full((1, 1), step), np.full((1, 1), -1))

    ahead = Ahead(Task())  # type: ignore[arg-type]
    assert [int(ahead.train_batch(step).tokens[0, 0]) for step in (1, 1, 2, 3, 9)] == [
        1,
        1,
        2,
        3,
        9,
    ]
    assert asked[:5] == [1, 2, 3, 4, 9]
