"""Starting values of a projection's parameters."""

import numpy as np

from mcore.arrays import Array
from mcore.layers.gates import init_a_log, init_dt_bias
from mcore.layers.init import depthwise, fan_in, normal
from mcore.model.columns import MIX, WEIGHT, init_mix
from mcore.model.derived import A_LOG
from mcore.model.part import Params, merged
from mcore.model.wiring import Wiring

ROUTER_STD = 0.02
"""Standard deviation of W_u at the start: nearly uniform gates."""


def starts(wiring: Wiring, rng: np.random.Generator, dtype: str) -> Params:
    """Fan-in scaled weights; W_u small; decays as in Mamba-2."""
    shapes = wiring.shapes()
    params: Params = {WEIGHT: _weight(wiring, rng, dtype)}
    if MIX in shapes:
        count, width = shapes[MIX]
        params[MIX] = init_mix(count, width, dtype)
    if wiring.convolved:
        params["conv.weight"] = depthwise(rng, wiring.convolved, wiring.conv, dtype)
    if wiring.decays:
        params[A_LOG] = init_a_log(rng, wiring.heads, dtype)
        params["dt_bias"] = init_dt_bias(rng, wiring.heads, dtype)
    for slot in wiring.biases:
        assert slot.law.bias is not None
        bias = slot.law.bias(rng, (wiring.heads, slot.width))
        params[slot.bias] = bias.reshape(-1).astype(dtype)
    for slot in wiring.narrow:
        params[slot.up] = fan_in(rng, shapes[slot.up], dtype)
    params |= merged(source.init(rng, dtype) for source in wiring.derived)
    for name, law in wiring.parameters.items():
        if law.trained:
            params[name] = law.start(rng, wiring.widths[name]).astype(dtype)
    return params


def _weight(wiring: Wiring, rng: np.random.Generator, dtype: str) -> Array:
    """All columns; those of u small."""
    weight = fan_in(rng, wiring.shapes()[WEIGHT], dtype)
    for slot in wiring.slots:
        if slot.name == "u":
            shape = weight[:, slot.columns].shape
            weight[:, slot.columns] = normal(rng, shape, ROUTER_STD, dtype)
    return weight
