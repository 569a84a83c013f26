"""The CuPy backend as an object."""

import os
from typing import Any

from mcore.arrays import Array
from mcore.backend import Decoder, Decoding, Fused, Routes, Scan, SigmoidRead
from mcore.backends.cupy_gpu import decode as _decode
from mcore.backends.cupy_gpu.adamw import FusedAdamW
from mcore.backends.cupy_gpu.attention import ATTENTION
from mcore.backends.cupy_gpu.cuda_device import CudaDevice, check_index
from mcore.backends.cupy_gpu.dense import dense_on
from mcore.backends.cupy_gpu.device import Device, Room
from mcore.backends.cupy_gpu.families import READS, SCANS, SOUPS
from mcore.backends.cupy_gpu.fused import Scans, fused_layer
from mcore.backends.cupy_gpu.host import moved, on_host
from mcore.backends.cupy_gpu.pairs import Kept, Pair
from mcore.backends.cupy_gpu.route import ROUTE
from mcore.backends.cupy_gpu.sigmoid_read import sigmoid_layer
from mcore.cache import MemoryState
from mcore.recurrence import Inputs, Recurrence
from mcore.router import Pool, Router
from mcore.segments import Segments

EMULATED = "MCORE_EMULATED_GPU"
"""Set to n, this variable of the environment makes the CPU stand for n GPUs: for tests."""


class CupyBackend:
    """CUDA kernels on one GPU. Each method is specified in `mcore.backend.Backend`.

    Args:
        threads: of the host; takes no notice of it.
        device: number of the GPU, or what stands for one; None for the current GPU.
        products: `float32` or `tf32`; see `mcore.backend.get_backend`.

    Attributes:
        device: what runs the kernels.
        dense: the dense pairs (`mcore.layers.dense`), in kernels.
        adamw: norm and update of all parameters (`mcore.layers.engine.Engine`).
    """

    name = "cupy"
    dtypes = ("float32", "float64", "bfloat16")
    threads = 1

    def __init__(
        self,
        threads: int | None = None,
        device: Device | int | None = None,
        products: str = "float32",
    ) -> None:
        if device is None or isinstance(device, int):
            device = chosen_device(device, products)
        self.device: Device = device
        self.xp = device.xp
        self.dense = dense_on(device)
        self.adamw = FusedAdamW(device)

    def room(self) -> Room:
        """Bytes of the device's memory."""
        return self.device.room()

    def accelerates(self) -> frozenset[tuple[str, str]]:
        """What has kernels; the rest is computed on the host."""
        tables = (("scan", SCANS), ("read", READS), ("soup", SOUPS))
        pairs = {(rule, op) for op, table in tables for rule in table}
        return frozenset(pairs | {("*", "route"), ("*", "attention")})

    def scan(
        self, rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments
    ) -> tuple[Scan, Any]:
        """Online reads and checkpoints."""
        pair = SCANS.get(rule.kind, _ON_HOST["scan"])
        return self._run(pair, rule, inputs, carry, segments)

    def scan_backward(
        self, saved: Kept, d_reads: Array, d_checkpoints: Array
    ) -> tuple[dict[str, Array], Array | None]:
        """Gradients of `scan`."""
        found: tuple[dict[str, Array], Array | None] = self._back(saved, d_reads, d_checkpoints)
        return found

    def route(
        self, u: Array, keys: Array, segments: Segments, router: Router, pool: Pool
    ) -> tuple[Routes, Any]:
        """Gates and contexts."""
        return self._run(ROUTE, u, keys, segments, router, pool)

    def route_backward(
        self, saved: Kept, d_gates: Array, d_contexts: Array
    ) -> tuple[Array, Array, Pool]:
        """Gradients of `route`."""
        found: tuple[Array, Array, Pool] = self._back(saved, d_gates, d_contexts)
        return found

    def read(
        self,
        rule: Recurrence,
        q: Array,
        checkpoints: Array,
        gates: Array | None,
        segments: Segments,
    ) -> tuple[Array, Any]:
        """Weighted answers of the visible checkpoints."""
        pair = READS.get(rule.kind, _ON_HOST["read"])
        return self._run(pair, rule, q, checkpoints, gates, segments)

    def read_backward(self, saved: Kept, dy: Array) -> tuple[Array, Array, Array | None]:
        """Gradients of `read`."""
        found: tuple[Array, Array, Array | None] = self._back(saved, dy)
        return found

    def fused(self, rule: Recurrence, router: Router) -> Fused | None:
        """The rule's scan, then gates and reads in one pass."""
        scans = Scans(self.scan, self.scan_backward)
        return fused_layer(self.device, rule, router, scans)

    def sigmoid_read(self, rule: Recurrence) -> SigmoidRead | None:
        """Answers, and gates made of them, for reads that are linear and of matrices."""
        return sigmoid_layer(self.device, rule)

    def soup(
        self,
        rule: Recurrence,
        inputs: Inputs,
        carry: Array | None,
        segments: Segments,
        cached: tuple[Array, Array],
    ) -> tuple[Array, Any]:
        """The answer of the mixed memory."""
        pair = SOUPS.get(rule.kind, _ON_HOST["soup"])
        return self._run(pair, rule, inputs, carry, segments, cached)

    def soup_backward(
        self, saved: Kept, dy: Array
    ) -> tuple[dict[str, Array], Array | None, Array, Array]:
        """Gradients of `soup`."""
        found: tuple[dict[str, Array], Array | None, Array, Array] = self._back(saved, dy)
        return found

    def attention(self, q: Array, k: Array, v: Array, window: int | None) -> tuple[Array, Any]:
        """Causal softmax attention."""
        return self._run(ATTENTION, q, k, v, window)

    def attention_backward(self, saved: Kept, dy: Array) -> tuple[Array, Array, Array]:
        """Gradients of `attention`."""
        found: tuple[Array, Array, Array] = self._back(saved, dy)
        return found

    def decoder(self, decoding: Decoding, state: MemoryState) -> Decoder | None:
        """Three kernels a token for matrix and vector memories, row by row; others step."""
        return _decode.decoder(self.device, decoding, state)

    def _run(self, pair: Pair, *arguments: Any) -> tuple[Any, Kept]:
        output, saved = pair.forward(self.device, *self._packed(arguments))
        return output, Kept(pair, saved)

    def _back(self, saved: Kept, *d_output: Any) -> Any:
        return saved.pair.backward(self.device, saved.saved, *self._packed(d_output))

    def _packed(self, arguments: tuple[Any, ...]) -> Any:
        """Without gaps, as kernels take arrays; copies only what has some."""
        return moved(arguments, self.xp.ascontiguousarray, self.xp.ndarray)


def chosen_device(index: int | None, products: str) -> Device:
    """The GPU with this number, or the current one; or what stands for it."""
    count = int(os.environ.get(EMULATED) or 0)
    if not count:
        return CudaDevice(index, products)
    from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice

    check_index(index, count)
    return EmulatedDevice(products=products)


_ON_HOST = {name: on_host(name) for name in ("scan", "read", "soup")}
