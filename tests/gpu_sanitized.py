"""Memories of every family with sanitized kernels: a program, run with the sanitizers loaded first.

Prints a line per memory; the first read or write out of bounds ends it, with file and line.
"""

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


def main() -> None:
    """Each memory forward and backward, beside the reference."""
    for recurrence, readout in MEMORIES:
        composition: Any = {
            "recurrence": recurrence,
            "segmentation": {"kind": "given", "lengths": [[5, 1, 7], [13]]},
            "readout": readout,
            "start": "checkpoint",
        }
        gpu = CupyBackend(device=EmulatedDevice(seed=2, sanitize=True))
        memory = mcore.memory(**composition, backend=Held("float64", gpu=gpu), dtype="float64")
        square = "w_in" in memory.inputs
        answer(memory, Example(composition, Sizes(2, 13, 2, 5, 5 if square else 3), 0))
        print(memory.rule.kind, memory.readout.kind, flush=True)


if __name__ == "__main__":
    main()
