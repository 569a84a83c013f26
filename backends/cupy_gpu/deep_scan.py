"""Deep memories token after token: each token's gradient is taken at the memory before it."""

from mcore.backends.cupy_gpu.deep_forms import Form, Launch, OnlineSaved, longest
from mcore.backends.cupy_gpu.deep_tiles import SHARED

IMAGES = {"moneta": 1, "memora": 2}
"""What `cuda/deep_image.cuh` calls the images; 0 for rules without one."""

THREADS = 256

REGISTERS = 64
"""Of each thread, 4 bytes each, that may hold a column of one of the perceptron's matrices."""


def forward(saved: OnlineSaved) -> Launch:
    """Of `deep_scan`."""
    size, keys, width = _sizes(saved)
    wide = _in_registers(saved)
    whole, weights = size, 2 * keys * width
    choices = (whole - weights, 0) if wide else (whole, weights, 0)
    return _launch("deep_scan", saved, (6, 3), choices)


def backward(saved: OnlineSaved) -> Launch:
    """Of `deep_scan_backward`: what is held in shared memory is the state's gradient."""
    size, keys, width = _sizes(saved)
    launch = _launch("deep_scan_backward", saved, (10, 8), (size, 2 * keys * width, 0))
    return launch._replace(steps=longest(saved.segments))


BY_TOKENS = Form(forward, backward)


def _launch(
    family: str, saved: OnlineSaved, vectors: tuple[int, int], choices: tuple[int, ...]
) -> Launch:
    """The first of the choices that fits lies in shared memory, beside vectors (K) and (E)."""
    _, keys, width = _sizes(saved)
    item, wide = saved.checkpoints.itemsize, _in_registers(saved)
    lengths = [max(keys, wide)] * vectors[0] + [width] * vectors[1] + [32, THREADS // 32 * wide]
    least = sum(_up(length * item) for length in lengths)
    held = next((held for held in choices if least + _up(held * item) <= SHARED), 0)
    sizes = (("MC_KEYS", wide),) if wide else ()
    options = (IMAGES.get(saved.rule.kind, 0), held)
    return Launch(family, sizes, options, least + _up(held * item))


def _in_registers(saved: OnlineSaved) -> int:
    """K, rounded up, if a thread can hold a column of both matrices; else 0."""
    _, keys, width = _sizes(saved)
    wide = next((n for n in (16, 32, 64) if n >= keys), 0)
    fits = wide * saved.checkpoints.itemsize // 4 <= REGISTERS and width <= THREADS
    return wide if fits and saved.rule.kind not in IMAGES else 0


def _sizes(saved: OnlineSaved) -> tuple[int, int, int]:
    """P, K and E."""
    keys, width = saved.inputs["w_in"].shape[1:]
    return saved.checkpoints.shape[-1], keys, width


def _up(size: int) -> int:
    return -(-size // 16) * 16
