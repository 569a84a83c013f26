"""float32 and float64: answers of the dtype that was given, with its digits."""

from collections.abc import Callable

import numpy as np

from mcore.arrays import Array
from mcore.errors import InputError
from mcore.testing.samples import sample_normal
from mcore.testing.theorems.case import Case, long, regular
from mcore.testing.theorems.subject import TOLERANCES, Subject, backward, forward
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import Mistyped, Violation, meet

STEP = 1e-6
ROUGH = 1e-8
"""Of a smooth function the second difference is about STEP^2 = 1e-12; of one that rounds to float32
somewhere inside, about its unit 6e-8."""


def dtype(subject: Subject, case: Case) -> float:
    """float32 in, float32 out, near the float64 answer; and float64 means float64 all the way."""
    single = subject.typed("float32")
    y = forward(single, case)
    _check_dtype("y", y, "float32")
    gradients = {} if "backward" in subject.lacks else backward(single, case)
    for name, array in gradients.items():
        _check_dtype(f"gradient of {name}", array, "float32")
    try:
        double = subject.typed("float64")
        exact = forward(double, case)
    except InputError:
        return 0.0
    _check_dtype("y", exact, "float64")
    _check_smooth(lambda inputs: forward(double, case.given(inputs)), case, exact)
    allowed = TOLERANCES["float32"]
    worst = meet(y, exact, allowed.y, "y in float32 beside float64")
    for name, array in backward(double, case).items() if gradients else ():
        _check_dtype(f"gradient of {name}", array, "float64")
        what = f"gradient of {name} in float32 beside float64"
        worst = max(worst, meet(gradients[name], array, allowed.gradient, what))
    return worst


def _check_dtype(what: str, array: Array, wanted: str) -> None:
    if str(array.dtype) != wanted:
        raise Mistyped(f"{what}: {array.dtype} was returned for {wanted} inputs")


def _check_smooth(function: Callable[[dict[str, Array]], Array], case: Case, middle: Array) -> None:
    """f(x + h) - 2 f(x) + f(x - h) is of second order."""
    steps = {
        name: STEP * sample_normal(array.shape, case.seed + 5 + i)
        for i, (name, array) in enumerate(case.inputs.items())
    }
    ahead, behind = (
        function({name: array + sign * steps[name] for name, array in case.inputs.items()})
        for sign in (1.0, -1.0)
    )
    rough = np.abs(ahead - 2 * middle + behind).max() / max(np.abs(middle).max(), 1e-2)
    if rough > ROUGH:
        raise Violation(
            f"y in float64 is rounded somewhere to about {rough:.0e}, relative to its largest "
            "entry; float64 has 2e-16",
            float(rough),
        )


DTYPE = Theorem(
    "dtype",
    "answers have the dtype of the inputs and its digits: float32 is near float64",
    regular | long,
    dtype,
)
