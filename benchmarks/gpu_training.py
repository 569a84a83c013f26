"""The quickstart, trained on the device and on the CPU from the same numbers: the same loss."""

import tempfile
from pathlib import Path

import mcore
from benchmarks.gpu_lab import Lab

STEPS, TINY = 200, 2
NOISE = 0.05
"""Of the loss: rounding alone takes two runs of so many steps this far apart."""


def run(lab: Lab) -> bool:
    """Whether both end at the same loss, within noise."""
    losses, speeds = {}, {}
    for backend in ("numba", "cupy"):
        with tempfile.TemporaryDirectory() as folder:
            result = mcore.train(_spec(lab, backend), Path(folder) / "run")
        losses[backend], speeds[backend] = result.loss, result.tokens_per_second
    apart = abs(losses["cupy"] - losses["numba"]) / losses["numba"]
    lab.store("training", "quickstart", {"losses": losses, "tokens per second": speeds})
    print(f"quickstart: {losses}, {100 * apart:.1f} % apart; tokens/s {speeds}", flush=True)
    return apart <= NOISE


def _spec(lab: Lab, backend: str) -> mcore.Spec:
    path = Path(__file__).resolve().parents[1] / "specs" / "quickstart.yaml"
    changes = [f"train.steps={TINY if lab.emulated else STEPS}", f"backend={backend}"]
    if lab.emulated:
        changes += ["train.batch=2", "train.log_every=1", "data.length=16", "data.pairs=2"]
    return mcore.load_spec(path, changes).model_copy(update={"compare": {}})
