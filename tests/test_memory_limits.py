"""Ten thousand tokens through every recurrence, with gates at their limits and keys that hurt.

Each row of a batch is one adversary. Inside a rule's domain every answer and every gradient stays
finite in float32. The domains: sums take any keys; a delta rule contracts for unit keys and
beta <= 2, and beyond grows with every token; a perceptron descends while its steps are below 2 over
the curvature, and DLA's loss -<M(k), v> has no minimum, so that only decay bounds it. Beyond its
domain a memory may overflow, from some token on, in that row alone; training then stops and names
the place (test_training_nonfinite.py).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from harness import BACKENDS

import mcore
from mcore.arrays import Array
from mcore.axes import make_recurrence
from mcore.recurrence import RULES
from mcore.testing.samples import sample_inputs
from mcore.testing.strategies import Axis, Composition, Sizes

TOKENS, BACKWARD_TOKENS = 10_000, 2_000
RECURRENCES: list[Axis] = [
    *RULES,
    {"kind": "linear", "feature_map": "elu1", "normalize": True},
    {"kind": "titans", "chunk": 16},
]
GATES = {
    "log_decay": (-40.0, 0.0),
    "beta": (0.0, 1.0),
    "beta_prev": (0.0, 1.0),
    "a": (0.0, 1.0),
    "igate": (-50.0, 50.0),
    "fgate": (-50.0, 50.0),
    "x": (-50.0, 50.0),
    "delta": (0.0, 100.0),
}
"""The two ends of each gate. A deep memory's step and momentum are not gates but a step size."""
DEEP_GATES = GATES | {"log_decay": (-40.0, -0.5)}
"""Nothing but decay bounds a perceptron that descends on a loss without a minimum."""
VECTORS = ("q", "k", "v", "kk", "u")

Adversary = Callable[[str, Array, dict[str, tuple[float, float]]], Array]


def ordinary(name: str, x: Array, gates: dict[str, tuple[float, float]]) -> Array:
    """As `mcore.testing` draws them."""
    return x


def zeros(name: str, x: Array, gates: dict[str, tuple[float, float]]) -> Array:
    """Nothing at all."""
    return np.zeros_like(x)


def shut(name: str, x: Array, gates: dict[str, tuple[float, float]]) -> Array:
    """Every gate at its lower end, steps at zero."""
    return np.full_like(x, gates[name][0]) if name in gates else x * (name != "step")


def wide_open(name: str, x: Array, gates: dict[str, tuple[float, float]]) -> Array:
    """Every gate at its upper end."""
    return np.full_like(x, gates[name][1]) if name in gates else x


def repeated(name: str, x: Array, gates: dict[str, tuple[float, float]]) -> Array:
    """One token all along, written at full strength."""
    return np.broadcast_to(wide_open(name, x, gates)[:1], x.shape)


def reflected(name: str, x: Array, gates: dict[str, tuple[float, float]]) -> Array:
    """The same, with a delta rule at the very border of its domain: beta 2, a reflection."""
    return repeated(name, x, gates) * (2.0 if name == "beta" else 1.0)


def alternating(name: str, x: Array, gates: dict[str, tuple[float, float]]) -> Array:
    """Keys, values and queries change sign at every token, and gates change ends."""
    turn = (np.arange(len(x)) % 2).reshape(-1, *[1] * (x.ndim - 1))
    if name in gates:
        return np.where(turn, *gates[name]) + np.zeros_like(x)
    return np.where(turn, -x[:1], x[:1]) if name in VECTORS else x


def huge(name: str, x: Array, gates: dict[str, tuple[float, float]]) -> Array:
    """Vectors a thousand to ten thousand times too long."""
    length = np.random.default_rng(0).uniform(1e3, 1e4, (len(x), *[1] * (x.ndim - 1)))
    return x * length if name in ("q", "k", "v", "u") else x


ADVERSARIES: tuple[Adversary, ...] = (
    ordinary, zeros, shut, wide_open, repeated, reflected, alternating, huge,
)  # fmt: skip


def composed(recurrence: Axis) -> Composition:
    """One memory carried through all segments, and read together with its checkpoints."""
    cuts: Axis = {"kind": "constant", "length": 3000}
    return {
        "recurrence": recurrence, "segmentation": cuts, "readout": "grm", "start": "checkpoint",
    }  # fmt: skip


def adverse(recurrence: Axis, tokens: int) -> dict[str, Array]:
    """One adversary a row, inside the rule's domain."""
    rule, composition = make_recurrence(recurrence), composed(recurrence)
    sizes = Sizes(B=len(ADVERSARIES), T=tokens, H=1, K=4, V=4)
    inputs = sample_inputs(composition, sizes, seed=0)
    deep = rule.family == "deep"
    gates = DEEP_GATES if deep else GATES
    per_token = {name for name, axes in rule.inputs.items() if "T" in axes.split()} | {"k", "u"}
    for name in per_token & inputs.keys():
        for row, adversary in enumerate(ADVERSARIES):
            inputs[name][row] = adversary(name, inputs[name][row], gates)
    unit = {*(("q", "k", "v") if deep else ()), *(("k",) if getattr(rule, "corrects", 0) else ())}
    for name in unit:
        length = np.linalg.norm(inputs[name], axis=-1, keepdims=True)
        inputs[name] = inputs[name] / np.maximum(length, 1e-6)
    return {name: x.astype(np.float32) for name, x in inputs.items()}


@cache
def numba(kind: str, options: tuple[tuple[str, Any], ...]) -> Any:
    return mcore.memory(**composed({"kind": kind, **dict(options)}), backend="numba")


def memory_of(recurrence: Axis) -> Any:
    """The memory in float32; made once, for its kernels."""
    options = {} if isinstance(recurrence, str) else dict(recurrence)
    kind = options.pop("kind", recurrence)
    return numba(kind, tuple(options.items()))


def name_of(row: int) -> str:
    return str(getattr(ADVERSARIES[row], "__name__", row))


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
def test_ten_thousand_adverse_tokens_stay_finite(recurrence: Axis) -> None:
    y, _ = memory_of(recurrence).forward(adverse(recurrence, TOKENS))
    for row in range(len(y)):
        bad = np.flatnonzero(~np.isfinite(y[row]).all(axis=(-2, -1)))
        assert not bad.size, f"{name_of(row)}: {y[row, bad[0]]} at token {bad[0]}"


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
def test_gradients_of_two_thousand_adverse_tokens_are_finite(recurrence: Axis) -> None:
    memory = memory_of(recurrence)
    y, saved = memory.forward(adverse(recurrence, BACKWARD_TOKENS))
    gradients = memory.backward(saved, np.ones_like(y))
    for name in memory.inputs:
        assert np.isfinite(gradients[name]).all(), name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
def test_a_row_that_overflows_leaves_the_others_alone(recurrence: Axis, backend: str) -> None:
    """Row 0 gets numbers near float32's end; row 1 gives the bits that it gives beside a calm row,
    forward and backward."""
    composition = composed(recurrence)
    calm = sample_inputs(composition, Sizes(2, 70, 2, 4, 4), seed=1)
    calm = {name: x.astype(np.float32) for name, x in calm.items()}
    tokens = [name for name, axes in memory_of(recurrence).inputs.items() if axes[:3] == "B T"]
    wild = {name: x.copy() for name, x in calm.items()}
    for name in set(tokens) - {"log_decay"}:
        wild[name][0] *= np.float32(1e37)
    memory = mcore.memory(**composition, backend=backend)
    with np.errstate(all="ignore"):
        answers = [memory.forward(inputs) for inputs in (calm, wild)]
        gradients = [memory.backward(saved, np.ones_like(y)) for y, saved in answers]
    np.testing.assert_array_equal(answers[1][0][1], answers[0][0][1])
    for name in tokens:
        np.testing.assert_array_equal(gradients[1][name][1], gradients[0][name][1], name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
def test_an_infinity_shows_at_its_token_and_not_before(recurrence: Axis, backend: str) -> None:
    """So that the token that is named is the token at fault."""
    composition, token = composed(recurrence), 40
    inputs = sample_inputs(composition, Sizes(1, 100, 1, 4, 4), seed=0)
    inputs = {name: x.astype(np.float32) for name, x in inputs.items()}
    name = "v" if "v" in inputs else "x"
    inputs[name][:, token] = np.inf if name == "v" else np.nan
    with np.errstate(all="ignore"):
        y, _ = mcore.memory(**composition, backend=backend).forward(inputs)
    assert np.isfinite(y[:, :token]).all()
    assert not np.isfinite(y[:, token]).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_beyond_its_domain_a_delta_rule_grows_until_it_overflows(backend: str) -> None:
    """Keys of length 10 at beta 1 multiply the error along them by -99 at every token."""
    composition = composed("delta")
    inputs = sample_inputs(composition, Sizes(1, 200, 1, 4, 4), seed=0)
    inputs["k"] *= 10.0 / np.linalg.norm(inputs["k"], axis=-1, keepdims=True)
    inputs["beta"][...] = 1.0
    inputs = {name: x.astype(np.float32) for name, x in inputs.items()}
    with np.errstate(all="ignore"):
        y, _ = mcore.memory(**composition, backend=backend).forward(inputs)
    bad = np.asarray(~np.isfinite(y).all(axis=(0, 2, 3)))
    first = int(np.argmax(bad))
    assert 20 <= first <= 30
    assert bad[first:].all()
