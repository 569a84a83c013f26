"""Arrays on a device: what the emulation refuses and counts as CuPy would, and what is sent."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mcore import picking
from mcore.backends.cupy_gpu.emulation import namespace as xp
from mcore.backends.cupy_gpu.emulation.array import DeviceArray, traffic
from mcore.placing import like, on_host, sent, to_host

HOST = np.arange(24.0).reshape(2, 4, 3)


def there() -> Any:
    return xp.array(HOST)


@pytest.mark.parametrize(
    "mixes",
    [
        lambda x: x + HOST,
        lambda x: HOST * x,
        lambda x: np.where(HOST > 3, x, 0),
        lambda x: xp.where(HOST > 3, x, 0),
        lambda x: np.concatenate([x, HOST]),
        lambda x: x[np.array([0, 1])],
        lambda x: x.__setitem__(0, HOST[0]),
        lambda x: np.asarray(x),
        lambda x: np.ascontiguousarray(x),
        lambda x: np.sum([x, x], axis=0),
        lambda x: np.add.reduce(x),
        lambda x: np.maximum.accumulate(x),
        lambda x: np.add(x, x, where=x > 3),
        lambda x: x.max(axis=-1, initial=0.0),
        lambda x: np.max(x, initial=0.0),
        lambda x: np.insert(x, 0, 0),
        lambda x: range(x[0, 0, 0].astype(int)),
        lambda x: np.from_dlpack(x),
        lambda x: xp.from_dlpack(HOST),
    ],
)
def test_what_cupy_refuses_is_refused(mixes: Callable[[Any], Any]) -> None:
    with pytest.raises((TypeError, BufferError, RuntimeError, ValueError)):
        mixes(there())


@pytest.mark.parametrize("name", ["insert", "unstack", "vecdot", "errstate"])
def test_functions_that_cupy_lacks_are_not_there(name: str) -> None:
    with pytest.raises(AttributeError):
        getattr(xp, name)


@pytest.mark.parametrize(
    ("waits", "up", "down"),
    [
        (lambda x: bool((x > 3).all()), 0, 1),
        (lambda x: x[x > 3], 0, 1),
        (lambda x: x.tolist(), 0, 1),
        (lambda x: np.nonzero(x), 0, 1),
        (lambda x: xp.asnumpy(x), 0, 1),
        (lambda x: x[[0, 1]], 1, 0),
        (lambda x: xp.asarray(HOST), 1, 0),
        (lambda x: np.einsum("bts,bts->bt", x, x)[:, 1:].sum(axis=0) * 2 + xp.ones(3), 0, 0),
    ],
)
def test_what_waits_is_counted(waits: Callable[[Any], Any], up: int, down: int) -> None:
    x = there()
    traffic.reset()
    waits(x)
    assert (traffic.up, traffic.down) == (up, down)


def test_tables_are_sent_once_and_one_offs_each_time() -> None:
    x, table = there(), np.array([3, 1, 4, 1, 5])
    assert like(HOST, table) is table and sent(HOST, table) is table and to_host(HOST) is HOST
    first = like(x, table)
    traffic.reset()
    assert like(x, table.copy()) is first and traffic.up == 0
    assert like(x, table.astype(np.int32)).dtype == np.int32 and traffic.up == 1
    assert sent(x, table) is not sent(x, table) and traffic.up == 3
    assert on_host(to_host(first)) and not on_host(first)
    assert (to_host(first) == table).all()


COLUMNS = (np.array([2, 2]), np.array([0, 3]))


@pytest.mark.parametrize("columns", COLUMNS, ids=str)
def test_entries_are_picked_and_written_as_on_the_host(columns: Any) -> None:
    rows = np.arange(2)
    for x in (HOST.copy(), there()):
        got = picking.one_each(x, columns)
        assert (to_host(got) == HOST[rows, columns]).all()
        picking.add_to_one_each(x, columns, got)
        wanted = HOST.copy()
        wanted[rows, columns] *= 2
        assert (to_host(x) == wanted).all()
        picking.put_entries(x, (rows, columns), got)
        assert (to_host(x) == HOST).all()
        assert (to_host(picking.entries(x, rows, columns)) == HOST[rows, columns]).all()


@pytest.mark.parametrize("chosen", [[False, False], [True, False]], ids=str)
def test_rows_are_chosen(chosen: list[bool]) -> None:
    mask = np.array(chosen)
    for x in (HOST, there()):
        wanted = np.where(mask[:, None, None], 0, HOST)
        assert (to_host(picking.per_row(mask, 0, x)) == wanted).all()
        assert (to_host(picking.per_row(mask, x, 0)) == HOST - wanted).all()


def test_running_sums_and_products() -> None:
    for make in (HOST.copy, there):
        x, y = make(), make()
        picking.accumulate(x)
        picking.accumulate_later(y)
        assert (to_host(x) == np.cumsum(HOST, axis=1)).all()
        assert (to_host(y) == np.cumsum(HOST[:, ::-1], axis=1)[:, ::-1]).all()
        assert np.allclose(to_host(picking.dots(make(), make())), (HOST * HOST).sum(axis=-1))


def test_dlpack_says_that_the_memory_is_a_gpus() -> None:
    x = there()
    assert x.__dlpack_device__() == (2, 0)
    again = xp.from_dlpack(x)
    assert isinstance(again, DeviceArray) and again.host.ctypes.data == x.host.ctypes.data
    traffic.reset()
    assert (np.from_dlpack(x, device="cpu") == HOST).all() and traffic.down == 1
