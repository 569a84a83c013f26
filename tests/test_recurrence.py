"""Each rule's one-token equations: gradients, and agreement with the rules it contains."""

from typing import Any

import numpy as np
import pytest

from mcore.arrays import Array
from mcore.recurrence import RULES, Derived, Dims, Recurrence
from mcore.recurrence.linear import Linear
from mcore.recurrence.lstm import Lstm
from mcore.recurrence.slstm import Slstm
from mcore.testing.gradcheck import check_inputs
from mcore.testing.samples import shape_of

VARIANTS: list[Recurrence] = [
    *(rule() for rule in RULES.values()),
    Linear(feature_map="elu1", normalize=True),
]


def name_of(rule: Recurrence) -> str:
    return rule.kind + ("-normalised" if not rule.linear_read else "")


def sizes_of(rule: Recurrence, tokens: int = 1) -> dict[str, int]:
    """Lengths of all axes; K and V differ where the rule lets them."""
    widths = rule.sizes(key=4, value=4 if rule.square else 2)
    return {"B": 2, "T": tokens, "H": 3, **widths}


def dims_of(rule: Recurrence) -> Dims:
    return Dims(**{letter: size for letter, size in sizes_of(rule).items() if letter != "G"})


def token_of(rule: Recurrence, seed: int = 0) -> dict[str, Array]:
    """One token's inputs and a state, all positive so that normalisers stay away from zero."""
    rng = np.random.default_rng(seed)
    sizes = sizes_of(rule)
    token = {name: axes.replace(" T", "") for name, axes in rule.prepared.items()}
    x = {name: rng.uniform(0.1, 1, shape_of(axes, sizes)) for name, axes in token.items()}
    x["state"] = rng.uniform(0.1, 1, (2, 3, *rule.state_shape(dims_of(rule))))
    if "log_decay" in x:
        x["log_decay"] = -x["log_decay"]
    return x


@pytest.mark.parametrize("rule", VARIANTS, ids=name_of)
def test_step_backward(rule: Recurrence) -> None:
    def forward(x: dict[str, Array]) -> tuple[Array, Any]:
        return rule.step(x["state"], x), x

    def backward(x: dict[str, Array], d_state: Array) -> dict[str, Array]:
        before, gradients = rule.step_backward(x["state"], x, d_state)
        return {**gradients, "state": before}

    unused = ("q", "w_in", "w_out")
    inputs = {name: x for name, x in token_of(rule).items() if name not in unused}
    check_inputs(forward, backward, inputs)


@pytest.mark.parametrize("rule", VARIANTS, ids=name_of)
def test_read_backward(rule: Recurrence) -> None:
    def forward(x: dict[str, Array]) -> tuple[Array, Any]:
        return rule.read(x["state"], x["q"]), x

    def backward(x: dict[str, Array], dy: Array) -> dict[str, Array]:
        d_state, dq = rule.read_backward(x["state"], x["q"], dy)
        return {"state": d_state, "q": dq}

    inputs = token_of(rule)
    check_inputs(forward, backward, {"state": inputs["state"], "q": inputs["q"]})


@pytest.mark.parametrize("rule", VARIANTS, ids=name_of)
def test_prepare_backward(rule: Recurrence) -> None:
    rng = np.random.default_rng(1)
    sizes = sizes_of(rule, tokens=5)
    inputs = {
        name: rng.standard_normal(shape_of(axes, sizes)) for name, axes in rule.inputs.items()
    }
    names = list(inputs)

    def forward(x: dict[str, Array]) -> tuple[tuple[Array, ...], Any]:
        prepared, saved = rule.prepare(x)
        return tuple(prepared[name] for name in names), saved

    def backward(saved: Any, *d_prepared: Array) -> dict[str, Array]:
        return rule.prepare_backward(saved, dict(zip(names, d_prepared, strict=True)))

    check_inputs(forward, backward, inputs)


def test_without_decay_gated_rules_are_the_plain_ones() -> None:
    for plain, gated in (("linear", "gated_linear"), ("delta", "gated_delta")):
        x = token_of(RULES[gated]())
        x["log_decay"] = np.zeros_like(x["log_decay"])
        ours, theirs = RULES[plain]().step(x["state"], x), RULES[gated]().step(x["state"], x)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_delta_rule_at_full_strength_stores_the_value() -> None:
    rule, x = RULES["delta"](), token_of(RULES["delta"]())
    x["k"] /= np.linalg.norm(x["k"], axis=-1, keepdims=True)
    x["beta"] = np.ones_like(x["beta"])
    np.testing.assert_allclose(rule.read(rule.step(x["state"], x), x["k"]), x["v"], rtol=1e-10)


def test_vectors_begin_by_remembering() -> None:
    rng = np.random.default_rng(0)
    gates = Lstm().start_bias(rng, (2, 12)).reshape(2, 4, 3)
    np.testing.assert_array_equal(gates, np.eye(4)[1][None, :, None] * np.ones((2, 1, 3)))
    forget = Slstm().start_bias(rng, (2, 12)).reshape(2, 4, 3)[:, 1]
    np.testing.assert_allclose(forget[:, [0, -1]], [[5.0, -7.0]] * 2)
    assert (np.diff(forget) < 0).all()


def test_every_input_of_a_rule_can_be_made_by_a_layer() -> None:
    for rule in VARIANTS:
        laws = rule.features.values()
        sources = {name for law in laws if isinstance(law, Derived) for name in law.of}
        around = {"skip", "z"} | sources
        assert set(rule.features) - around <= set(rule.inputs) <= set(rule.features)
