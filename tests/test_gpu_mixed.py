"""bfloat16 beside float32: which tensor is which, products, kernels, training and snapshots."""

import ctypes
import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from gpu_models import on_gpu, spec_of, trained
from run_folders import same_runs
from test_dense import CASES, run
from test_gpu_dense import backend, hosted, scored, up

import mcore
from mcore import training
from mcore.arrays import Array
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.backends.cupy_gpu.half_product import half_product
from mcore.cli import main
from mcore.errors import SpecError
from mcore.layers.dense import PLAIN
from mcore.layers.product import product
from mcore.model import Model
from mcore.placing import to_host
from mcore.snapshot import read_snapshot
from mcore.spec import dump_spec
from mcore.spec.compile import compile
from mcore.spec.restore import on_host
from mcore.training.display import Quiet
from mcore.training.sample import optimizer_of, sample

PAGE = Path(__file__).resolve().parents[1] / "docs" / "mixed-precision.md"
HALF = np.dtype(ml_dtypes.bfloat16)
EPS = 2.0**-8
"""Half the spacing of bfloat16 numbers below 1 is a relative error of this, at most."""

MIXED = {"model": {"blocks": ["memory", {"mixer": "attention"}], "tied": False}}


def documented() -> dict[str, str]:
    """Tensor -> dtype, as the page says."""
    rows = re.findall(r"^\| ([^|]+) \| (\w+) \| [^|]+ \|$", PAGE.read_text(), re.MULTILINE)
    return {name: dtype for name, dtype in rows if name != "tensor"}


def names(arrays: Any) -> set[str]:
    """Dtypes of arrays."""
    return {x.dtype.name for x in arrays}


def seen(model: Model) -> dict[str, set[str]]:
    """The dtypes of every tensor of the page in a training step."""
    batch, optimizer = next(sample(model, 3, 13)), optimizer_of(model)
    loss, (saved, head) = model.loss(batch.tokens, batch.labels)
    grads = model.loss_backward((saved, head))
    (norm, memory), (_, mlp), (_, attention), _ = saved[1]
    projected, remembered, _, last = memory
    d_out, d_parameters = model.layout.parts["blocks.0.mlp"].backward(
        saved[1][1], model.backend.xp.ones(mlp.x.shape, HALF)
    )
    assert names(d_parameters.values()) == {"float32"}
    end, passed = model.end((saved, head)), remembered.passes[0].saved
    state = [x for name, x in end.items() if ".memory." in name and x.dtype.kind != "i"]
    inputs = passed.setting.inputs.values()
    return {
        "parameters": names(model.params.values()),
        "gradients of parameters": names(grads.values()),
        "moments of AdamW": names(optimizer.state().values()),
        "weights in products": names([projected.columns[1], last[1], *mlp.weights, head.weight]),
        "stream between parts": names([norm.x.held, mlp.x, saved[2].x.held]),
        "normed input of a part": names([projected.columns[0], mlp.x, head.hidden]),
        "scales of norms": names([norm.scale, saved[2].scale]),
        "SwiGLU inside": names([mlp.gate, mlp.up]),
        "columns of a mixer's projection": names(
            [each[0].like for each in projected.inputs.values() if hasattr(each[0], "like")]
        ),
        "inputs of a memory": names(inputs),
        "states and checkpoints": names([*state, passed.ends.checkpoints]) - {"int64", "float64"},
        "answers of a memory": names([remembered.passes[0].saved.reads]),
        "input of a mixer's last projection": names([last[0], attention[2][0]]),
        "keys and values of attention": names(attention[3]),
        "logits": names([head.scores.logits, model.forward(batch.tokens)[0]]),
        "loss": names([loss.value]),
        "gradient between parts": names([d_out]),
    }


def test_every_tensor_is_as_the_page_says() -> None:
    found = seen(on_gpu(spec_of(**MIXED), "bfloat16"))
    assert {name: {dtype} for name, dtype in documented().items()} == found


class ColumnMajor:
    """cuBLAS's `gemmEx`, by its own words: C = op(A) op(B), everything column by column."""

    mode = 3

    def getMathMode(self, handle: int) -> int:
        return self.mode

    def setMathMode(self, handle: int, mode: int) -> None:
        self.mode = mode

    def gemmEx(self, handle: int, *given: Any) -> None:
        assert self.mode == 3 | 16
        turn_a, turn_b, m, n, k, one, *rest = given
        (a, b, zero, c), algorithm = (rest[:3], rest[3:6], rest[6], rest[7:10]), rest[10:]
        assert (handle, *algorithm) == (7, 68, -1)
        assert [ctypes.c_float.from_address(x).value for x in (one, zero)] == [1.0, 0.0]
        left = self._matrix(a, (k, m) if turn_a else (m, k), turn_a)
        right = self._matrix(b, (n, k) if turn_b else (k, n), turn_b)
        into = self._memory(c, m, n)
        into[...] = (left @ right).astype(into.dtype)

    def _matrix(self, x: Any, shape: tuple[int, int], turn: int) -> Array:
        held = self._memory(x, *shape).astype("float32")
        return held.T if turn else held

    def _memory(self, x: Any, rows: int, columns: int) -> Array:
        """The matrix at an address, its columns `pitch` apart."""
        address, kind, pitch = x
        assert pitch >= rows
        dtype = {0: np.dtype(np.float32), 14: HALF}[kind]
        size = (pitch * (columns - 1) + rows) * dtype.itemsize
        flat = np.frombuffer((ctypes.c_char * size).from_address(address), dtype)
        step = dtype.itemsize
        return np.lib.stride_tricks.as_strided(flat, (rows, columns), (step, pitch * step))


def laid(x: Array, how: str) -> Array:
    """The same matrix, otherwise in memory."""
    if how == "turned":
        return x.T.copy().T
    if how == "columns":
        return np.pad(x, ((0, 0), (2, 1)))[:, 2:-1]
    return np.repeat(x, 2, axis=1)[:, ::2] if how == "apart" else x


@pytest.mark.parametrize("left", ["rows", "turned", "columns", "apart"])
@pytest.mark.parametrize("right", ["rows", "turned", "columns"])
def test_products_in_any_layout(left: str, right: str) -> None:
    """Sums of rounded inputs in float32, rounded once; as a library adds up, and as cuBLAS does."""
    device, rng = EmulatedDevice(), np.random.default_rng(0)
    for m, k, n in ((5, 7, 3), (1, 7, 3), (5, 1, 3), (5, 7, 1), (1, 1, 1), (2, 0, 3)):
        a = laid(rng.standard_normal((m, k)).astype(HALF), left)
        b = laid(rng.standard_normal((k, n)).astype(HALF), right)
        wanted = a.astype("float64") @ b.astype("float64")
        x, y = (device.xp.ndarray(matrix) for matrix in (a, b))
        for dtype, allowed in (("float32", 1e-6), ("bfloat16", EPS)):
            cublas = ColumnMajor()
            blas = half_product(device, cublas, 7, x, y, dtype)
            assert cublas.mode == 3
            for found in (product(x, y, dtype), blas):
                assert found.dtype.name == dtype and found.flags.c_contiguous
                np.testing.assert_allclose(
                    to_host(found).astype("float64"), wanted, rtol=2 * allowed, atol=allowed
                )


@pytest.mark.parametrize("name", ["rms_norm and what goes past it", "gated_rms_norm", "swiglu"])
def test_kernels_round_their_results_alone(name: str) -> None:
    """bfloat16 in: the answers are those of float32 on the same numbers, rounded."""
    given = {n: x.astype(HALF) for n, x in CASES[name].arguments(9).items()}
    wide = {n: x.astype("float32") for n, x in given.items()}
    weights = {n: wide[n] for n in given if n in ("weight", "w")}
    found = run(CASES[name].pair(hosted(backend())), given | weights)
    for mine, theirs in zip(found, run(CASES[name].pair(PLAIN), wide), strict=True):
        largest = float(np.abs(theirs).max())
        np.testing.assert_allclose(mine.astype("float32"), theirs, rtol=0, atol=5 * EPS * largest)


def test_the_loss_is_float32() -> None:
    """Of rounded hidden states and weights it is off by float32's rounding alone."""
    gpu, rng = backend(), np.random.default_rng(0)
    hidden = rng.standard_normal((2, 3, 5)).astype(HALF)
    weight = rng.standard_normal((5, 9)).astype(HALF).astype("float32")
    labels = np.array([[1, -1, 4], [0, 8, 8]])
    found, gradients = scored(gpu.dense, (up(hidden, gpu), up(weight, gpu)), labels)
    wanted, others = scored(PLAIN, (hidden.astype("float32"), weight), labels)
    assert found.value == pytest.approx(wanted.value, rel=1e-6)
    assert [x.dtype.name for x in gradients] == ["bfloat16", "float32"]
    for mine, theirs in zip(gradients, others, strict=True):
        largest = float(np.abs(theirs).max())
        mine = to_host(mine).astype("float32")
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=3 * EPS * largest)


@pytest.mark.parametrize("memory", ["gated_delta", "rwkv7"])
def test_it_trains_as_float32_does(memory: str) -> None:
    spec = spec_of(memory={"recurrence": memory}, **MIXED)
    (half, params), (whole, others) = (trained(on_gpu(spec, d), 4) for d in ("bfloat16", "float32"))
    assert half == pytest.approx(whole, rel=0.01)
    assert half[-1] < half[0] - 0.2
    assert any(np.abs(params[name] - others[name]).max() > 0 for name in params)


@pytest.mark.usefixtures("emulated")
def test_a_run_keeps_float32_and_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    spec = spec_of(
        train={"save_every": 1, "steps": 3},
        data={"eval_examples": 4},
        backend="cupy",
        dtype="bfloat16",
    )
    whole, again = tmp_path / "whole", tmp_path / "again"
    training.run(spec, compile, whole, display=Quiet())
    again.mkdir()
    for file in whole.iterdir():
        if file.is_file() and file.name not in ("last.safetensors", "result.json"):
            (again / file.name).write_bytes(file.read_bytes())
    training.resume(again, compile, display=Quiet())
    same_runs(whole, again)
    kept = read_snapshot(whole / "last.safetensors")
    assert names([*kept.params.values(), *kept.optimizer.values()]) == {"float32"}
    read = mcore.load(whole, ["backend=reference", "dtype=float32"])
    tokens = np.random.default_rng(0).integers(0, 20, (2, 13))
    found, wanted = to_host(mcore.load(whole).forward(tokens)[0]), read.forward(tokens)[0]
    assert float(np.abs(found - wanted).mean()) < 0.01 * float(np.abs(wanted).max())


def test_other_backends_refuse_it_and_name_cupy() -> None:
    for kind in ("numba", "reference"):
        with pytest.raises(SpecError, match=rf"dtype: bfloat16 is for backend: cupy; {kind} runs"):
            spec_of(backend=kind, dtype="bfloat16")
        with pytest.raises(SpecError, match=rf"{kind} has no bfloat16; .*backend: cupy has it"):
            compile(spec_of(), backend=kind, dtype="bfloat16")


@pytest.mark.usefixtures("emulated")
def test_other_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What trains in bfloat16 is warmed up, and read on the host; `bench` says what would do."""
    spec = spec_of(backend="cupy", dtype="bfloat16", model={"depth": 1})
    (tmp_path / "x.yaml").write_text(dump_spec(spec))
    assert main(["warmup", str(tmp_path / "x.yaml"), "--quiet"]) == 0
    assert main(["bench", str(tmp_path / "x.yaml")]) == 2
    assert "cupy leaves the work to a device; --set backend=numba" in capsys.readouterr().err
    compile(spec).save(tmp_path / "x.safetensors")
    here = mcore.load(tmp_path / "x.safetensors", on_host(tmp_path / "x.safetensors"))
    assert here.backend.name == "reference" and here.dtype == "float32"
