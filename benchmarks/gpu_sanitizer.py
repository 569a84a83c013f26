"""compute-sanitizer over small sizes: reads out of bounds, races in shared memory."""

import shutil
import subprocess
import sys

from benchmarks.gpu_lab import Lab

TOOLS = ("memcheck", "racecheck")
PROGRAM = """
from benchmarks.gpu_sanitizer import small
small()
"""
RULES = ("gated_linear", "gated_delta", "gla", "rwkv7", "mlstm", "lstm", "titans", "moneta")
READOUTS = ("grm", {"kind": "ssc", "top_k": 2})


def run(lab: Lab) -> bool:
    """Whether nothing was found; says so if the tool is not there."""
    tool = shutil.which("compute-sanitizer")
    if lab.emulated or tool is None:
        print("sanitizer: compute-sanitizer cannot run here", flush=True)
        return True
    sound = True
    for name in TOOLS:
        command = [tool, "--tool", name, "--error-exitcode", "9", sys.executable, "-c", PROGRAM]
        limit = max(10.0, min(120.0, lab.left()))
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=limit
            )
        except subprocess.TimeoutExpired:
            print(f"{name}: not finished after {limit:.0f} s", flush=True)
            continue
        lab.store("sanitizer", name, {"exit": done.returncode, "end": done.stdout[-400:]})
        if done.returncode:
            print(f"{name}: {done.stdout[-3000:]}", flush=True)
            sound = False
    return sound


def small() -> None:
    """A few tokens through kernels of every family, forward and backward."""
    import numpy as np

    import mcore
    from mcore.testing.strategies import Example, Sizes

    for rule in RULES:
        for readout in READOUTS:
            cut = {"kind": "constant", "length": 5}
            example = Example(
                {
                    "recurrence": rule,
                    "segmentation": cut,
                    "readout": readout,
                    "start": "checkpoint",
                },
                Sizes(B=1, T=12, H=2, K=17, V=17),
                0,
            )
            memory = mcore.memory(**example.composition, backend="cupy")
            y, saved = memory.forward(example.inputs)
            memory.backward(saved, np.ones(y.shape, "float32"))
