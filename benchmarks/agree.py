"""Contenders compute the same thing, or they are not compared."""

from typing import Any

import numpy as np

from benchmarks.peers import Contender, make
from benchmarks.problem import Arrays, Problem
from mcore.arrays import Array

LIMIT = 3e-5
"""Of a float32 result: rounding errors of sums over thousands of tokens in different orders."""


def relative_error(got: Array, wanted: Array) -> float:
    """The largest difference over the largest wanted entry."""
    return float(np.max(np.abs(got - wanted)) / np.max(np.abs(wanted)))


def exact(problem: Problem, inputs: Arrays, dy: Any) -> Arrays:
    """y and the gradients by the reference, token by token in float64."""
    memory = problem.memory("reference", dtype="float64")
    y, saved = memory.forward(inputs)
    return {"y": y, **memory.backward(saved, dy.astype(np.float64))}


def check(name: str, found: Arrays, wanted: Arrays) -> float:
    """The largest relative error of y and the gradients.

    Raises:
        AssertionError: it is more than rounding.
    """
    errors = {key: relative_error(found[key], wanted[key]) for key in wanted}
    worst = max(errors, key=lambda key: errors[key])
    assert errors[worst] < LIMIT, f"{name}: {worst} is off by {errors[worst]:.1e}"
    return errors[worst]


def check_small(problem: Problem) -> float:
    """mcore against the reference, on a few rows and segments of a problem."""
    small = problem.small()
    inputs, dy = small.inputs(), small.answers()
    contender = make("mcore", small, inputs, dy)
    found = contender.plain(contender.both())
    return check(f"mcore, {problem.name}", found, exact(small, inputs, dy))


def checked(name: str, contender: Contender, wanted: Arrays | None) -> Arrays:
    """What a contender computes, compared with what another has; both functions run once."""
    found = contender.plain(contender.both())
    contender.forward()
    if wanted is not None:
        check(name, found, wanted)
    return found
