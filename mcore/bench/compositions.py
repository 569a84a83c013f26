"""What `mcore bench` measures when no spec is named: one layer of usual size for each family."""

from typing import Any

CUT = {"kind": "constant", "length": 64}
SSC = {"kind": "ssc", "top_k": 4}

COMPOSITIONS: dict[str, tuple[str, Any]] = {
    "linear + grm": ("linear", "grm"),
    "linear + ssc": ("linear", SSC),
    "gated_linear + grm": ("gated_linear", "grm"),
    "gated_delta + grm": ("gated_delta", "grm"),
    "gla + grm": ("gla", "grm"),
    "rwkv7 + grm": ("rwkv7", "grm"),
    "mlstm + grm": ("mlstm", "grm"),
}
"""Name -> recurrence and readout."""


def spec_of(recurrence: str, readout: Any) -> dict[str, Any]:
    """4 heads of 64 channels, 4 rows of 1024 tokens in 16 segments, one block."""
    return {
        "model": {"width": 256, "depth": 1, "heads": 4},
        "memory": {"recurrence": recurrence, "segmentation": CUT, "readout": readout},
        "data": {"task": "mqar", "vocab": 256, "length": 1024, "pairs": 16},
        "train": {"batch": 4},
    }
