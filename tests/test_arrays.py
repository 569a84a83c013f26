"""What comes in at the boundary: number types, other libraries' arrays, declared shapes."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import mcore
from mcore.arrays import as_array, check_names, infer_dims, namespace


class Exporter:
    """Another library's array: all that is known of it is that it speaks DLPack."""

    def __init__(self, x: np.ndarray[Any, Any]) -> None:
        self.x = x

    def __dlpack__(self, **options: Any) -> Any:
        return self.x.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.x.__dlpack_device__()


def test_an_array_of_the_right_type_is_not_copied() -> None:
    x = np.ones(3, np.float32)
    assert np.shares_memory(as_array("x", x, "float32", np), x)


def test_dlpack_is_taken_over_without_a_copy() -> None:
    x = np.arange(3.0)
    assert np.shares_memory(as_array("x", Exporter(x), "float64", np), x)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.int8, np.bool_])
def test_narrow_numbers_are_widened(dtype: Any) -> None:
    widened = as_array("x", np.array([0, 1], dtype), "float32", np)
    assert widened.dtype == np.float32
    assert widened.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("x", ["text", np.array([1j]), [object()], [[1.0], [1.0, 2.0]]])
def test_what_is_not_real_numbers_is_refused_by_name(x: object) -> None:
    with pytest.raises(mcore.InputError, match="beta: "):
        as_array("beta", x, "float32", np)


def test_products_of_axes_are_checked() -> None:
    declared = {"x": "B G*V", "w": "V"}
    good = {"x": np.ones((2, 6)), "w": np.ones(3)}
    assert infer_dims(good, declared, {"G": 2})["V"] == 3
    with pytest.raises(
        mcore.ShapeError, match=r"x: shape \(2, 7\), expected \(B G\*V\) = \(2, 6\)"
    ):
        infer_dims({**good, "x": np.ones((2, 7))}, declared, {"G": 2})


def test_names_are_checked() -> None:
    check_names({"q": 0}, {"q": "B"})
    with pytest.raises(mcore.InputError, match="k missing"):
        check_names({"q": 0}, {"q": "B", "k": "B T"})
    with pytest.raises(mcore.InputError, match="z not used"):
        check_names({"q": 0, "z": 0}, {"q": "B"})


def test_namespace() -> None:
    assert namespace(np.ones(1)) is np
