"""How far two answers may be apart, by dtype and operation, and why.

All errors are relative to the largest entry of the wanted array: a gradient has entries that cancel
to nearly nothing, and an error there is an error of the others' rounding.
"""

from typing import Literal

Dtype = Literal["float32", "float64"]
Operation = Literal["forward", "backward", "same", "finite_difference"]

TOLERANCES: dict[tuple[str, str], float] = {
    # Sums of some hundred terms in another order cost a few ulp (2e-16 each); a delta rule of 11
    # tokens or a normaliser near zero may amplify that by 1e3. 1e-9 leaves room, and any error in a
    # formula is larger by many orders.
    ("float64", "forward"): 1e-9,
    ("float64", "backward"): 1e-9,
    # The same with ulp 6e-8: amplified by 1e3 it is 6e-5; gradients pass twice through it.
    ("float32", "forward"): 2e-4,
    ("float32", "backward"): 2e-4,
    # Two ways through the same library: the same sums in another order, no second formula.
    ("float64", "same"): 1e-10,
    ("float32", "same"): 1e-4,
    # Central differences with step h = 1e-5 err by h^2 = 1e-10 times the third derivative, and by
    # rounding / h = 1e-11 times the value. Third derivatives of a softmax or a ratio reach 1e3.
    ("float64", "finite_difference"): 1e-6,
}


def tolerance(dtype: str, operation: str) -> float:
    """The largest allowed error relative to the largest entry."""
    return TOLERANCES[dtype, operation]
