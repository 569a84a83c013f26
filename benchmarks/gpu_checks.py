"""Every rule with every readout on the device, held to the reference in float64."""

from typing import Any

import numpy as np

import mcore
from benchmarks.gpu_lab import Lab
from mcore.testing.agreement import relative_error
from mcore.testing.samples import RULE_INPUTS
from mcore.testing.strategies import Example, Sizes

READOUTS: tuple[Any, ...] = (
    "none",
    "residual",
    "grm",
    {"kind": "ssc", "top_k": 2},
    "soup",
    "sigmoid",
)
STARTS = ("independent", "checkpoint")
ALLOWED = {"float32": 1e-5, "float64": 1e-9}
"""Of the largest entry, or of 1e-2 if that is larger: see `mcore.testing.agreement`."""

LAST_EMULATED = "gated_linear"
"""All rules take minutes on the CPU."""

SENSITIVE = {"moneta": 5e-5, "memora": 5e-5}
"""Rules that enlarge rounding: float32 on the CPU is off by 2e-5 on these sizes."""


def run(lab: Lab) -> bool:
    """Whether all agree; prints what does not."""
    sound = True
    for rule in RULE_INPUTS:
        for readout in READOUTS:
            for start in STARTS:
                if lab.left() <= 0:
                    print("checks: out of time", flush=True)
                    return False
                sound &= _check(lab, rule, readout, start)
        if lab.emulated and rule == LAST_EMULATED:
            print(f"checks: emulated no further than {rule}; the tests do the rest", flush=True)
            break
    return sound


def _check(lab: Lab, rule: str, readout: Any, start: str) -> bool:
    wide = not lab.emulated
    sizes = Sizes(B=2, T=200 if wide else 21, H=2, K=64 if wide else 16, V=64 if wide else 16)
    cut = {"kind": "constant", "length": 48 if wide else 8}
    composition = {"recurrence": rule, "segmentation": cut, "readout": readout, "start": start}
    kind = readout if isinstance(readout, str) else readout["kind"]
    name, fine = f"{rule} {kind} {start}", True
    example = Example(composition, sizes, 0)  # type: ignore[arg-type]
    want = _answers(lab, example, "numba", "float64")
    for dtype in ("float32", "float64"):
        got = _answers(lab, example, "cupy", dtype)
        worst = max(want, key=lambda entry: _error(got[entry], want[entry]))
        error = _error(got[worst], want[worst])
        allowed = SENSITIVE.get(rule, ALLOWED[dtype]) if dtype == "float32" else ALLOWED[dtype]
        lab.store("checks", f"{name} {dtype}", {"error": error, "allowed": allowed})
        if not error <= allowed:
            print(f"DIFFERS {name} {dtype}: {worst} by {error:.1e}, {allowed:.0e} allowed")
            fine = False
    return fine


def _answers(lab: Lab, example: Example, backend: str, dtype: str) -> dict[str, Any]:
    memory = mcore.memory(**example.composition, backend=backend, dtype=dtype)
    y, saved = memory.forward(example.inputs)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    grads = memory.backward(saved, dy)
    found = {"y": y, **{name: grads[name] for name in memory.inputs}}
    host = getattr(memory.backend.xp, "asnumpy", np.asarray)
    return {name: np.asarray(host(x), np.float64) for name, x in found.items()}


def _error(got: Any, want: Any) -> float:
    """As `relative_error`; what is not finite is as wrong as can be."""
    error = relative_error(got, want)
    return error if np.isfinite(error) else float("inf")
