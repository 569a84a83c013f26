"""The Numba backend as an object."""

from functools import partial
from typing import Any

import numba

from mcore.arrays import Array
from mcore.backend import Decoder, Decoding, Fused, Routes, Scan, SigmoidRead
from mcore.backends.numba_cpu import attention as _attention
from mcore.backends.numba_cpu import decode_rows as _decode
from mcore.backends.numba_cpu import deep_soup as _deep_soup
from mcore.backends.numba_cpu import families as _families
from mcore.backends.numba_cpu import fused as _fused
from mcore.backends.numba_cpu import fused_anatomy as _anatomy
from mcore.backends.numba_cpu import fused_reads as _reads
from mcore.backends.numba_cpu import mlstm_read as _mlstm_read
from mcore.backends.numba_cpu import read as _read
from mcore.backends.numba_cpu import route as _route
from mcore.backends.numba_cpu import scan as _scan
from mcore.backends.numba_cpu import sigmoid_read as _sigmoid_read
from mcore.backends.numba_cpu import soup as _soup
from mcore.backends.numba_cpu import vector_read as _vector_read
from mcore.backends.numba_cpu import vector_scan as _vector_scan
from mcore.backends.numba_cpu.compilation import Compiler
from mcore.backends.numpy_ref.backend import ReferenceBackend
from mcore.cache import MemoryState
from mcore.errors import BackendError
from mcore.layers.dense import Dense
from mcore.recurrence import Inputs, Recurrence
from mcore.router import Pool, Router
from mcore.segments import Segments

RULES = frozenset({"linear", "retention", "gated_linear", "mamba2", "delta", "gated_delta"})
"""The matrix rules with one decay per head and token, or none: one family of kernels."""

VECTOR_RULES = frozenset({"lstm", "gru", "slstm"})
"""The vector rules whose equations the kernels know."""


class NumbaBackend(ReferenceBackend):
    """Fast kernels on all cores; what it does not accelerate runs in the reference.

    Results do not depend on the number of threads: a task is a row of a head or, for vector rules,
    a fixed block of such rows. Each method is specified in `mcore.backend.Backend`.
    """

    name = "numba"
    compiler = Compiler()

    def __init__(self, threads: int | None = None) -> None:
        available = int(numba.config.NUMBA_NUM_THREADS)
        if threads is not None and not 1 <= threads <= available:
            raise BackendError(
                f"backend numba: {threads} threads asked for, {available} are there; "
                f"1 to {available} would do"
            )
        super().__init__(threads or available)

    @property
    def dense(self) -> Dense:
        """Kernels of dense layers."""
        from mcore.backends.numba_cpu.dense import dense

        return dense(self.threads)

    def accelerates(self) -> frozenset[tuple[str, str]]:
        """Scans and reads of matrix and vector rules, soup, routing, and attention."""
        rules = RULES | VECTOR_RULES | _families.FAMILIES.keys()
        return frozenset({(rule, op) for rule in rules for op in ("scan", "read")}) | {
            *((rule, "read") for rule in _families.PERCEPTRONS),
            *((rule, op) for rule in _deep_soup.DEEP_RULES for op in ("scan", "soup")),
            ("linear", "soup"),
            ("mlstm", "soup"),
            ("*", "route"),
            ("*", "attention"),
        }

    def scan(
        self, rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments
    ) -> tuple[Scan, Any]:
        """Chunkwise matrix form; vector rules token by token."""
        if rule.kind in VECTOR_RULES:
            return _vector_scan.scan(rule, inputs, carry, segments, self.threads)
        if rule.kind in _deep_soup.DEEP_RULES:
            return _deep_soup.scan(rule, inputs, carry, segments, self.threads)
        if rule.kind in _families.FAMILIES:
            return _families.scan(rule, inputs, carry, segments, self.threads)
        if rule.kind not in RULES:
            return super().scan(rule, inputs, carry, segments)
        return _scan.scan(rule, inputs, carry, segments, self.threads)

    def scan_backward(
        self, saved: Any, d_reads: Array, d_checkpoints: Array
    ) -> tuple[dict[str, Array], Array | None]:
        """Each segment replayed from the checkpoint before it."""
        if isinstance(saved, _vector_scan.VectorScanSaved):
            return _vector_scan.scan_backward(saved, d_reads, d_checkpoints, self.threads)
        if isinstance(saved, _deep_soup.ScanSaved):
            return _deep_soup.scan_backward(saved, d_reads, d_checkpoints, self.threads)
        if isinstance(saved, _families.Kept):
            return _families.scan_backward(saved, d_reads, d_checkpoints, self.threads)
        if not isinstance(saved, _scan.ScanSaved):
            return super().scan_backward(saved, d_reads, d_checkpoints)
        return _scan.scan_backward(saved, d_reads, d_checkpoints, self.threads)

    def route(
        self, u: Array, keys: Array, segments: Segments, router: Router, pool: Pool
    ) -> tuple[Routes, Any]:
        """Gates and contexts."""
        return _route.route(u, keys, segments, router, pool, self.threads)

    def route_backward(
        self, saved: Any, d_gates: Array, d_contexts: Array
    ) -> tuple[Array, Array, Pool]:
        """Gradients of `route`."""
        return _route.route_backward(saved, d_gates, d_contexts, self.threads)

    def read(
        self,
        rule: Recurrence,
        q: Array,
        checkpoints: Array,
        gates: Array | None,
        segments: Segments,
    ) -> tuple[Array, Any]:
        """Weighted answers of the visible checkpoints."""
        if rule.kind in VECTOR_RULES:
            return _vector_read.read(rule, q, checkpoints, gates, segments)
        if rule.kind in _families.FAMILIES or rule.kind in _families.PERCEPTRONS:
            return _families.read(rule, q, checkpoints, gates, segments, self.threads)
        if rule.kind not in RULES:
            return super().read(rule, q, checkpoints, gates, segments)
        return _read.read(rule, q, checkpoints, gates, segments, self.threads)

    def read_backward(self, saved: Any, dy: Array) -> tuple[Array, Array, Array | None]:
        """Gradients of `read`."""
        if isinstance(saved, _vector_read.VectorReadSaved):
            return _vector_read.read_backward(saved, dy)
        if isinstance(saved, _families.Kept):
            return _families.read_backward(saved, dy, self.threads)
        if not isinstance(saved, _read.ReadSaved):
            return super().read_backward(saved, dy)
        return _read.read_backward(saved, dy, self.threads)

    def fused(self, rule: Recurrence, router: Router) -> Fused | None:
        """Scan, gates and reads chunk by chunk; or a scan of its own, then gates and reads."""
        if router.seed is not None:
            return None
        divided = bool(getattr(rule, "normalize", False))
        if rule.kind in RULES and not divided:
            return _fused.FusedLayer(router, self.threads)
        anatomy = _anatomy.NORMALIZED if divided else _anatomy.ANATOMIES.get(rule.kind)
        if anatomy is None or (anatomy.divided and router.top_k is not None):
            return None
        scan = partial(self.scan, rule)
        return _reads.FusedReads(scan, self.scan_backward, anatomy, router, self.threads)

    def sigmoid_read(self, rule: Recurrence) -> SigmoidRead | None:
        """Chunk by chunk against each checkpoint, for reads that are linear and not divided."""
        anatomy = _anatomy.PLAIN if rule.kind in RULES else _anatomy.ANATOMIES.get(rule.kind)
        if anatomy is None or anatomy.divided or getattr(rule, "normalize", False):
            return None
        return _sigmoid_read.SigmoidLayer(anatomy, self.threads)

    def soup(
        self,
        rule: Recurrence,
        inputs: Inputs,
        carry: Array | None,
        segments: Segments,
        cached: tuple[Array, Array],
    ) -> tuple[Array, Any]:
        """The answer of the mixed memory: both layers of perceptrons are mixed, or numerators and
        normalisers."""
        if rule.kind in _deep_soup.DEEP_RULES:
            return _deep_soup.soup(rule, inputs, carry, segments, cached, self.threads)
        if rule.kind == "mlstm":
            return _mlstm_read.soup(inputs, carry, segments, cached, self.threads)
        if not getattr(rule, "normalize", False):
            return super().soup(rule, inputs, carry, segments, cached)
        return _soup.soup(inputs, carry, segments, cached, self.threads)

    def soup_backward(
        self, saved: Any, dy: Array
    ) -> tuple[dict[str, Array], Array | None, Array, Array]:
        """Gradients of `soup`."""
        if isinstance(saved, _deep_soup.SoupSaved):
            return _deep_soup.soup_backward(saved, dy, self.threads)
        if isinstance(saved, _mlstm_read.SoupSaved):
            return _mlstm_read.soup_backward(saved, dy, self.threads)
        if not isinstance(saved, _soup.SoupSaved):
            return super().soup_backward(saved, dy)
        return _soup.soup_backward(saved, dy, self.threads)

    def attention(self, q: Array, k: Array, v: Array, window: int | None) -> tuple[Array, Any]:
        """Causal softmax attention, block by block."""
        return _attention.attention(q, k, v, window, self.threads)

    def attention_backward(self, saved: Any, dy: Array) -> tuple[Array, Array, Array]:
        """Gradients of `attention`."""
        return _attention.attention_backward(saved, dy, self.threads)

    def decoder(self, decoding: Decoding, state: MemoryState) -> Decoder | None:
        """One kernel call a token; soups of divided memories and cuts by content step."""
        return _decode.decoder(decoding, state, self.threads)
