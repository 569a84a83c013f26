"""Models on an emulated GPU."""

from typing import Any

import numpy as np

import mcore
from mcore.arrays import Array
from mcore.backends.cupy_gpu.backend import CupyBackend
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.layers.product import real_of
from mcore.model import Model
from mcore.placing import to_host
from mcore.spec import Spec
from mcore.spec.compile import INIT_STREAM, layout_of
from mcore.training.sample import optimizer_of, sample
from mcore.training.step import take_step

SMALL: dict[str, Any] = {
    "model": {"width": 12, "depth": 2, "heads": 2, "mlp": 1.5},
    "memory": {
        "recurrence": "gated_delta",
        "segmentation": {"kind": "constant", "length": 5},
        "readout": "grm",
    },
    "data": {"task": "mqar", "vocab": 20, "length": 13, "pairs": 3},
    "train": {"batch": 3, "steps": 6, "optimizer": {"kind": "adamw", "eps": 1e-3}},
}
"""eps is large, so that an update does not make rounding errors as large as true gradients."""


def spec_of(base: dict[str, Any] = SMALL, **sections: Any) -> Spec:
    """A spec with some sections' keys changed."""
    known = {key: dict(value) if isinstance(value, dict) else value for key, value in base.items()}
    for key, value in sections.items():
        known[key] = {**known.get(key, {}), **value} if isinstance(value, dict) else value
    return mcore.load_spec(known)


def on_gpu(spec: Spec, dtype: str | None = None, seed: int = 1) -> Model:
    """A fresh model on an emulated GPU, with the parameters that `compile` draws."""
    backend = CupyBackend(device=EmulatedDevice(seed))
    dtype = dtype or spec.dtype
    layout = layout_of(spec, backend, dtype)
    rng = np.random.default_rng([spec.train.seed, INIT_STREAM])
    return Model(spec, layout, layout.init(rng, real_of(dtype)), backend, dtype)


def gradients(model: Model, batch: Any) -> tuple[float, dict[str, Array]]:
    """The loss of a batch and its gradients, on the host."""
    loss, saved = model.loss(batch.tokens, batch.labels, **_beside(batch))
    grads = {name: to_host(x) for name, x in model.loss_backward(saved).items()}
    return float(loss.value), grads


def trained(model: Model, steps: int) -> tuple[list[float], dict[str, Array]]:
    """Losses of some steps, each on the same batch, and the parameters after them."""
    optimizer, train = optimizer_of(model), model.spec.train
    batch = next(sample(model, train.batch, model.spec.data.length))
    losses = [
        take_step(step, batch, model, optimizer, train).loss.value for step in range(1, steps + 1)
    ]
    return losses, {name: to_host(x) for name, x in model.params.items()}


def off(found: dict[str, Array], wanted: dict[str, Array]) -> float:
    """The largest difference of an entry, in units of its array's largest or of 1 % of all."""
    assert found.keys() == wanted.keys()
    largest = 0.01 * max(float(np.abs(x).max()) for x in wanted.values())
    return max(
        float(np.abs(found[n] - x).max()) / max(float(np.abs(x).max()), largest)
        for n, x in wanted.items()
    )


def _beside(batch: Any) -> dict[str, Any]:
    return {"document": batch.document} if hasattr(batch, "document") else {}
