"""Each rule's one-token equations: gradients, and agreement with the rules it contains."""

from typing import Any

import numpy as np
import pytest

from mcore.arrays import Array
from mcore.recurrence import RULES, Dims, Recurrence
from mcore.recurrence.linear import Linear
from mcore.testing.gradcheck import check_inputs

DIMS = Dims(B=2, T=1, H=3, K=4, V=2)
SIZES = {"B": 2, "H": 3, "K": 4, "V": 2}

VARIANTS: list[Recurrence] = [
    *(rule() for rule in RULES.values()),
    Linear(feature_map="elu1", normalize=True),
]


def name_of(rule: Recurrence) -> str:
    return rule.kind + ("-normalised" if not rule.linear_read else "")


def token_of(rule: Recurrence, seed: int = 0) -> dict[str, Array]:
    """One token's inputs and a state, all positive so that normalisers stay away from zero."""
    rng = np.random.default_rng(seed)
    widths = {"q": (4,), "k": (4,), "v": (2,)}
    x = {name: rng.uniform(0.1, 1, (2, 3, *widths.get(name, ()))) for name in rule.inputs}
    x["state"] = rng.uniform(0.1, 1, (2, 3, *rule.state_shape(DIMS)))
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

    inputs = token_of(rule)
    del inputs["q"]
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
    sizes = {**SIZES, "T": 5}
    inputs = {
        name: rng.standard_normal([sizes[letter] for letter in axes.split()])
        for name, axes in rule.inputs.items()
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


def test_every_input_of_a_rule_can_be_made_by_a_layer() -> None:
    for rule in VARIANTS:
        assert set(rule.features) == set(rule.inputs)
