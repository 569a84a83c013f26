"""Threads: the same bits for any number of them, and BLAS keeps off the cores that they use."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from harness import maker
from threadpoolctl import threadpool_info, threadpool_limits

import mcore
from mcore.backends.numba_cpu import threads as shares
from mcore.memory_layer import Memory
from mcore.model.block import Residual
from mcore.testing.agreement import answer
from mcore.testing.strategies import RECURRENCES, Axis, Composition, Example, Sizes
from mcore.threads import Workers

SPEC = {
    "model": {"width": 16, "heads": 2, "depth": 1},
    "memory": {"recurrence": "gla", "segmentation": {"kind": "constant", "length": 4}},
    "data": {"task": "mqar", "vocab": 16, "length": 12, "pairs": 2},
    "backend": {"kind": "reference", "threads": 2},
}


@pytest.fixture
def every_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the work, it is shared."""
    monkeypatch.setattr(shares, "_WORTH_A_THREAD", 0)


@pytest.fixture
def two_for_blas() -> Iterator[None]:
    """BLAS has as many threads as it would have in a program that sets none."""
    with threadpool_limits(2, "blas"):
        yield


def blas_threads() -> int:
    """Threads that the greediest BLAS library would use now."""
    counts = [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]
    return int(max(counts))


@pytest.mark.parametrize("readout", ["grm", "soup"])
@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
@pytest.mark.usefixtures("every_share")
def test_bits_do_not_depend_on_threads(recurrence: Axis, readout: str) -> None:
    cuts: Axis = {"kind": "given", "lengths": [[3, 1, 4, 1], [2, 2, 5], [9]]}
    composition: Composition = {
        "recurrence": recurrence, "segmentation": cuts, "readout": readout, "start": "checkpoint",
    }  # fmt: skip
    example = Example(composition, Sizes(B=3, T=9, H=1, K=3, V=4), seed=7)
    one, two = (answer(maker("numba", threads=n)(composition), example) for n in (1, 2))
    assert any(np.any(x) for x in one.values())
    for name, array in one.items():
        np.testing.assert_array_equal(two[name], array, err_msg=name)


@pytest.mark.usefixtures("every_share")
def test_small_work_can_be_shared_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    x, tasks = (np.zeros(1),), shares.Tasks(3, 2)
    shares.run(lambda span, *_: seen.append(span), tasks, x, lambda _: None)
    assert sorted(seen) == [(0, 1), (1, 3)]
    monkeypatch.setattr(shares, "_WORTH_A_THREAD", 2)
    shares.run(lambda span, *_: seen.append(span), tasks, x, lambda _: None)
    assert seen[-1] == (0, 3)


@pytest.mark.usefixtures("two_for_blas")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_training_step_leaves_each_core_one_thread(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two threads, each works on its own rows; with one, BLAS has one as well."""
    seen = set[int]()
    forward, backward = Residual.forward, Residual.backward

    def watched(self: Residual, *given: Any) -> Any:
        seen.add(blas_threads())
        return forward(self, *given)

    def watched_backward(self: Residual, *given: Any) -> Any:
        seen.add(blas_threads())
        return backward(self, *given)

    monkeypatch.setattr(Residual, "forward", watched)
    monkeypatch.setattr(Residual, "backward", watched_backward)
    model = mcore.compile(mcore.load_spec(SPEC), threads=threads)
    assert model.workers.count == threads
    tokens = np.arange(48).reshape(4, 12) % 16
    _, saved = model.loss(tokens, tokens)
    model.loss_backward(saved)
    assert seen == {1}
    assert blas_threads() == 2


@pytest.mark.usefixtures("two_for_blas")
def test_a_memory_among_workers_leaves_blas_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a memory calls in between must not give BLAS more threads than its worker has."""
    seen, run = set[int](), Memory._run

    def watched(self: Memory, *given: Any) -> Any:
        before = blas_threads()
        found = run(self, *given)
        seen.update((before, blas_threads()))
        return found

    monkeypatch.setattr(Memory, "_run", watched)
    memory = mcore.memory("linear", {"kind": "constant", "length": 3}, "sigmoid", backend="numba")
    sizes = {"B": 1, "T": 7, "H": 2, "K": 4, "V": 4}
    inputs = {n: np.ones([sizes[a] for a in axes.split()]) for n, axes in memory.inputs.items()}
    Workers(2).map(memory.forward, [inputs, inputs])
    assert seen == {1}
    assert blas_threads() == 2
