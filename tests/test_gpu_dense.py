"""Dense pairs and the optimizer on an emulated GPU: the plain formulation's answers.

Columns of a wider array, one token and blocks with a rest; under several orders of the threads.
"""

from typing import Any

import numpy as np
import pytest
from gpu_cases import agree
from test_dense import CASES, FORMS, B, columns, normal, run

from mcore.arrays import Array
from mcore.backends.cupy_gpu import dense_loss
from mcore.backends.cupy_gpu.backend import CupyBackend
from mcore.backends.cupy_gpu.emulation.array import DeviceArray, traffic
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.backends.cupy_gpu.host import moved
from mcore.layers.dense import PLAIN, Dense, Pair
from mcore.layers.engine import Rates, Tensors
from mcore.layers.feature import Filter
from mcore.layers.loss import Loss, shown
from mcore.testing.gradcheck import check_pair
from mcore.training.optim import AdamW

ALLOWED = {"float32": 1e-5, "float64": 1e-10}
both = pytest.mark.parametrize("dtype", ALLOWED)
LABELS = np.array([[1, -1, 4], [0, 8, 8]])


def backend(seed: int = 0) -> CupyBackend:
    return CupyBackend(device=EmulatedDevice(seed))


def up(x: Any, gpu: CupyBackend) -> Any:
    return moved(x, gpu.device.upload, np.ndarray)


def same(place: str, found: Any, wanted: Any, dtype: str) -> None:
    agree(place, tuple(found), tuple(wanted), ALLOWED[dtype])


def hosted(gpu: CupyBackend) -> Dense:
    """The device's pairs over host arrays: moved there and back, columns as columns."""

    def pair(there: Pair) -> Pair:
        def forward(*arguments: Any) -> tuple[Array, Any]:
            y, saved = there.forward(*(spread(x, gpu) for x in arguments))
            return y.get(), saved

        def backward(saved: Any, *given: Any) -> Any:
            arguments = [spread(x, gpu) for x in given]
            found = moved(there.backward(saved, *arguments), gpu.device.download, DeviceArray)
            if len(given) == 2 and there is gpu.dense.feature:
                given[1][...] = arguments[1].get()
            return found

        return Pair(forward, backward)

    return Dense(*(pair(each) for each in gpu.dense))


def spread(x: Any, gpu: CupyBackend) -> Any:
    """On the device, and columns of a wider array there if they are here."""
    if not isinstance(x, np.ndarray) or x.flags.c_contiguous:
        return up(x, gpu)
    flat = x.reshape(*x.shape[:2], -1)
    wide = np.full((*flat.shape[:2], flat.shape[2] + 3), np.nan, x.dtype)
    wide[..., 2:-1] = flat
    return up(wide, gpu)[..., 2:-1].reshape(x.shape)


@pytest.mark.parametrize("name", CASES)
@both
def test_is_the_plain_formulation(name: str, dtype: str) -> None:
    mine, plain = (CASES[name].pair(dense) for dense in (hosted(backend()), PLAIN))
    for tokens in (1, 3, 67):
        given = {n: x.astype(dtype) for n, x in CASES[name].arguments(tokens).items()}
        for found, wanted in zip(run(mine, given), run(plain, given), strict=True):
            assert found.dtype == dtype and found.shape == wanted.shape
            largest = max(float(np.abs(wanted).max(initial=0)), 1e-30)
            assert float(np.abs(found - wanted).max(initial=0)) <= ALLOWED[dtype] * largest


@pytest.mark.parametrize("name", CASES)
def test_finite_differences(name: str) -> None:
    pair = CASES[name].pair(hosted(backend()))
    check_pair(pair.forward, pair.backward, CASES[name].arguments(3))


@both
def test_reach_bias_and_tail(dtype: str) -> None:
    """The whole of `feature`: documents, a bias, and the tokens before."""
    gpu, (form, width) = backend(), FORMS["keys"]
    x, tail = columns(0, B, 9, 15).astype(dtype), normal(2, B, width - 1, 15).astype(dtype)
    reach = (np.minimum(np.arange(9) % 4, 9) * np.ones((B, 1), int)).astype(np.int64)
    taps = Filter(normal(1, 15, width).astype(dtype), tail, reach)
    bias, dy = normal(3, 15).astype(dtype), normal(7, B, 9, 3, 5).astype(dtype)
    for taken in (taps, taps._replace(reach=None), None):
        answers: list[tuple[Any, ...]] = []
        for dense, there in ((gpu.dense, True), (PLAIN, False)):
            given = (x, taken, bias, dy, np.empty(x.shape, dtype))
            here, filters, shift, d_y, dx = up(given, gpu) if there else given
            y, saved = dense.feature.forward(here, form, filters, shift)
            answers.append((y, *dense.feature.backward(saved, d_y, dx), dx))
        same("feature", answers[0], answers[1], dtype)


def scored(dense: Dense, given: tuple[Array, Array], labels: Array) -> tuple[Any, tuple[Any, ...]]:
    loss, saved = dense.head_loss.forward(*given, labels)
    return shown(loss), tuple(dense.head_loss.backward(saved, 0.7))


@both
@pytest.mark.parametrize("tied", [False, True])
def test_loss(dtype: str, tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some labels, all, and none; logits in one block and in several."""
    gpu = backend()
    hidden, weight = normal(0, 2, 3, 5).astype(dtype), normal(1, 5, 9).astype(dtype)
    if tied:
        weight = np.asfortranarray(weight)
    for labels in (LABELS, np.abs(LABELS), np.full_like(LABELS, -1)):
        wanted, gradients = scored(PLAIN, (hidden, weight), labels)
        for block in (dense_loss.BLOCK, 18):
            monkeypatch.setattr(dense_loss, "BLOCK", block)
            there = up(hidden, gpu), up(weight.T, gpu).T if tied else up(weight, gpu)
            found, others = scored(gpu.dense, there, labels)
            assert found[1:] == wanted[1:] and found.value == pytest.approx(
                wanted.value, rel=ALLOWED[dtype]
            )
            same("head_loss", others, gradients, dtype)


def test_the_first_of_equal_logits_ranks_first_and_nan_is_seen() -> None:
    gpu = backend()
    logits = np.zeros((1, 3, 40), np.float32)
    logits[0, 1, [7, 33]] = 2
    logits[0, 2, 3] = np.nan
    loss, _ = gpu.dense.head_loss.forward(
        up(logits, gpu), up(np.eye(40, dtype="f4"), gpu), np.array([[0, 7, -1]])
    )
    assert shown(loss).correct == 2
    with np.errstate(invalid="ignore"):
        loss, _ = gpu.dense.head_loss.forward(
            up(logits, gpu), up(np.eye(40, dtype="f4"), gpu), np.array([[0, 7, 1]])
        )
    assert np.isnan(shown(loss).value)


@both
def test_embedding(dtype: str) -> None:
    """A token that is most of the text, and the same bits in any order of the threads."""
    tokens = np.random.default_rng(0).integers(0, 9, (2, 150))
    tokens[:, 20:] = 3
    weight, dy = normal(0, 11, 5).astype(dtype), normal(1, 2, 150, 5).astype(dtype)
    y, saved = PLAIN.embedding.forward(tokens, weight)
    wanted, bits = (y, PLAIN.embedding.backward(saved, dy)), set()
    for seed in (0, 1, 2):
        gpu = backend(seed)
        y, saved = gpu.dense.embedding.forward(tokens, up(weight, gpu))
        found = (y, gpu.dense.embedding.backward(saved, up(dy, gpu)))
        same("embedding", found, wanted, dtype)
        bits.add(found[1].get().tobytes())
    assert len(bits) == 1


@both
@pytest.mark.parametrize("width", [1, 6, 67])
def test_rotary(dtype: str, width: int) -> None:
    """From one position, from one per row, and, but for angles' last digits, from far out."""
    gpu, x, dy = backend(), normal(0, 2, 5, 5, width), normal(1, 2, 5, 5, width)
    for start in (0, np.array([3, 1000]), *([2**31] if dtype == "float32" else [])):
        wanted, saved = PLAIN.rotary.forward(x.astype(dtype), start)
        found, kept = gpu.dense.rotary.forward(up(x.astype(dtype), gpu), start)
        back = gpu.dense.rotary.backward(kept, up(dy.astype(dtype), gpu))
        others = PLAIN.rotary.backward(saved, dy.astype(dtype))
        same("rotary", (found, back), (wanted, others), dtype)


def tensors(dtype: str) -> list[Array]:
    return [normal(i, *s).astype(dtype) for i, s in enumerate([(3,), (150, 120), (1,), (7, 5)])]


@both
def test_update(dtype: str) -> None:
    """Three updates are those of the definition; nothing moves where something is not finite."""
    gpu, names, none = backend(), "abcd", ("a", "c")
    host = dict(zip(names, tensors(dtype), strict=True))
    there = up({n: x.copy() for n, x in host.items()}, gpu)
    made: list[Any] = [
        AdamW(arrays, none, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, engine=engine)
        for arrays, engine in ((host, None), (there, gpu.adamw))
    ]
    for step in range(3):
        grads = {
            n: (x * (step + 1)).astype(dtype) for n, x in zip(names, tensors(dtype), strict=True)
        }
        limit = 0.0 if step == 1 else 1.0
        first = made[0].descend(Loss(2.0, 1, 0), grads, 1e-2, limit)
        loss = Loss(gpu.xp.full((), 2.0), 1, gpu.xp.full((), 0))
        moved_up = up(grads, gpu)
        traffic.reset()
        second = made[1].descend(loss, moved_up, 1e-2, limit)
        assert traffic.down == 1
        assert second.norm == pytest.approx(first.norm, rel=1e-12)
    same("parameters", there.values(), host.values(), dtype)
    same("moments", made[1].state().values(), made[0].state().values(), dtype)
    before = {n: x.get() for n, x in there.items()}
    for value, factor in ((np.nan, 1.0), (1.0, np.inf)):
        with np.errstate(invalid="ignore"):
            bad = up({n: x * factor for n, x in grads.items()}, gpu)
            assert not made[1].descend(Loss(gpu.xp.full((), value), 1, 0), bad, 1e-2, 1.0).finite
    assert made[1].updates == 3
    for name, x in there.items():
        np.testing.assert_array_equal(x.get(), before[name])


def test_a_table_of_addresses_is_copied_once() -> None:
    gpu = backend()
    arrays = [*up(dict(enumerate(tensors("float32"))), gpu).values()]
    held = Tensors(arrays, arrays, arrays, [0.0] * 4)
    for _ in range(2):
        traffic.reset()
        _, scale = gpu.adamw.clip(arrays, 1.0, 1.0)
        gpu.adamw.update(held, arrays, Rates(0.0, (0.9, 0.9), 1e-8, 1), scale)
    assert (traffic.up, traffic.down) == (0, 0)
