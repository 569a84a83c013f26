"""Deep memories token after token: each token's gradient is taken at the memory before it."""

from mcore.backends.cupy_gpu.deep_forms import Form, Launch, OnlineSaved, longest
from mcore.backends.cupy_gpu.deep_tiles import SHARED

IMAGES = {"moneta": 1, "memora": 2}
"""What `cuda/deep_image.cuh` calls the images; 0 for rules without one."""


def forward(saved: OnlineSaved) -> Launch:
    """Of `deep_scan`."""
    return _launch("deep_scan", saved, (6, 3))


def backward(saved: OnlineSaved) -> Launch:
    """Of `deep_scan_backward`."""
    return _launch("deep_scan_backward", saved, (10, 8))._replace(steps=longest(saved.segments))


BY_TOKENS = Form(forward, backward)


def _launch(family: str, saved: OnlineSaved, vectors: tuple[int, int]) -> Launch:
    """As much of a state as fits lies in shared memory, beside vectors of lengths K and E."""
    keys, width = saved.inputs["w_in"].shape[1:]
    item, size = saved.checkpoints.itemsize, saved.checkpoints.shape[-1]
    lengths = (*[keys] * vectors[0], *[width] * vectors[1], 32)
    least = sum(-(-length * item // 16) * 16 for length in lengths)
    fits = (held for held in (size, 2 * keys * width) if least + held * item + 16 <= SHARED)
    held = next(fits, 0)
    options = (IMAGES.get(saved.rule.kind, 0), held)
    return Launch(family, (), options, least + held * item + 16)
