"""A token as decoding kernels take it: where inputs go, and the kernel."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Decoding
from mcore.backends.numba_cpu.decode_arrays import aligned
from mcore.backends.numba_cpu.decode_deep_work import SCRATCH, DeepToken
from mcore.backends.numba_cpu.decode_emit import PAD
from mcore.backends.numba_cpu.decode_plan import (
    GATES,
    LAWS,
    MIRRORS,
    PLANES,
    is_deep,
    is_vector,
    token_names,
)
from mcore.backends.numba_cpu.decode_work import Token, VectorToken

WIDE = ("q", "k", "v", "u", "decays", "removal", "strength", "x")
"""Entries (B, 1, H, .)."""


class Slots(NamedTuple):
    """Room for a token.

    Attributes:
        entries: its arrays, empty but for scratch and for what is spread.
        given: which entry an input becomes, by number and name.
        spread: (B, 1, H) where a log-decay of each head goes, if there is one.
    """

    entries: list[Array]
    given: list[tuple[int, str]]
    spread: Array | None


def slots_of(decoding: Decoding, dtype: Any) -> Slots:
    """Room for a token of a composition."""
    dims, names = decoding.dims, token_names(decoding)
    lead = (dims.B, 1, dims.H)
    empty: dict[str, Array] = {name: np.zeros((*lead, 0), dtype) for name in WIDE}
    empty |= {name: np.zeros((dims.B, 1, 0), dtype) for name in ("decay", "beta", "more")}
    empty["temperature"] = np.zeros(0, dtype)
    spread = None
    if decoding.rule.inputs.get("log_decay") == "H":
        empty["decay"] = spread = np.zeros(lead, dtype)
        del names["decay"]
    kind: Any = Token
    if is_vector(decoding.rule):
        kind, empty = VectorToken, empty | _vector_scratch(decoding, dtype)
    elif is_deep(decoding.rule):
        kind, empty = DeepToken, empty | _deep_scratch(decoding, dtype)
    gates = GATES if decoding.readout.answers_gate else ()
    empty |= {name: np.zeros((0,) * (2 if name == "gate_bias" else 3), dtype) for name in gates}
    fields = (*kind._fields, *gates)
    places = {name: i for i, name in enumerate(fields)}
    given = [(places[entry], name) for entry, name in names.items()]
    return Slots([empty[name] for name in fields], given, spread)


def _vector_scratch(decoding: Decoding, dtype: Any) -> dict[str, Array]:
    dims, rule = decoding.dims, decoding.rule
    gates, planes = rule.fixed["G"], PLANES[LAWS[rule.kind]]
    return {
        "recurrent": np.zeros((dims.H, dims.V, 0), dtype),
        "bias": np.zeros((dims.H, 0), dtype),
        "sums": np.zeros((dims.B, dims.H, gates * dims.V), dtype),
        "planes": np.zeros((dims.B, dims.H, planes, dims.V), dtype),
    }


def _deep_scratch(decoding: Decoding, dtype: Any) -> dict[str, Array]:
    dims, width = decoding.dims, -(-decoding.dims.E // PAD) * PAD
    empty = {name: np.zeros((dims.B, 1, 0), dtype) for name in ("step", "momentum", "delta")}
    empty |= {name: np.zeros((dims.H, 0, 0), dtype) for name in ("w_in", "w_out")}
    return empty | {"scratch": aligned((dims.B, dims.H, SCRATCH, width), dtype)}


def kernel_of(decoding: Decoding) -> Any:
    """The kernel that takes a composition's tokens."""
    from mcore.backends.numba_cpu.decode_deep_kernels import decode_deep_kernel
    from mcore.backends.numba_cpu.decode_kernels import decode_kernel
    from mcore.backends.numba_cpu.decode_mirror_kernels import decode_mirror_kernel
    from mcore.backends.numba_cpu.decode_vector_kernels import decode_vector_kernel

    if LAWS[decoding.rule.kind] in MIRRORS:
        return decode_mirror_kernel
    if is_deep(decoding.rule):
        return decode_deep_kernel
    return decode_vector_kernel if is_vector(decoding.rule) else decode_kernel
