"""Memories of every family with sanitized kernels: a program, run with the sanitizers loaded first.

Prints a line per memory; the first read or write out of bounds ends it, with file and line. With an
argument, bounds are not looked at where kernels store, and nothing else is run than one memory.
"""

import sys
from typing import Any

from gpu_cases import Held

import mcore
from mcore.backends.cupy_gpu.backend import CupyBackend
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.testing.agreement import answer
from mcore.testing.strategies import Example, Sizes

SPARSE: Any = {"kind": "ssc", "top_k": 2}
MEMORIES: tuple[tuple[Any, Any], ...] = (
    ("gated_linear", "grm"),
    ("gated_delta", SPARSE),
    ("gla", "residual"),
    ("rwkv7", "sigmoid"),
    ("swla", "none"),
    ("mlstm", "soup"),
    ({"kind": "linear", "feature_map": "elu1", "normalize": True}, "soup"),
    ("lstm", "grm"),
    ("gru", "none"),
    ("slstm", "none"),
    ("titans", "soup"),
    ({"kind": "titans", "chunk": 4}, "grm"),
    ("moneta", "none"),
)
BOUND = "if (i < rows && j < columns) at[i * stride + j] = T(value);"
UNBOUND = "at[i * stride + j] = T(value);"


def unbounded(text: str) -> str:
    """A source whose stores do not look at bounds."""
    return text.replace(BOUND, UNBOUND)


def run(recurrence: Any, readout: Any, device: EmulatedDevice) -> None:
    """A memory forward and backward, beside the reference."""
    composition: Any = {
        "recurrence": recurrence,
        "segmentation": {"kind": "given", "lengths": [[5, 1, 7], [13]]},
        "readout": readout,
        "start": "checkpoint",
    }
    backend = Held("float64", gpu=CupyBackend(device=device))
    memory = mcore.memory(**composition, backend=backend, dtype="float64")
    square = "w_in" in memory.inputs
    answer(memory, Example(composition, Sizes(2, 13, 2, 5, 5 if square else 3), 0))
    print(memory.rule.kind, memory.readout.kind, flush=True)


def main() -> None:
    """All memories; or the first, with a mistake."""
    if len(sys.argv) > 1:
        run("gated_linear", "none", EmulatedDevice(sanitize=True, edit=unbounded))
        return
    for recurrence, readout in MEMORIES:
        run(recurrence, readout, EmulatedDevice(seed=2, sanitize=True))


if __name__ == "__main__":
    main()
