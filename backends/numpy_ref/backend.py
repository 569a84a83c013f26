"""The reference backend as an object."""

from types import ModuleType
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.backend import Decoder, Decoding, Fused, Routes, Scan, SigmoidRead
from mcore.backends.numpy_ref import attention as _attention
from mcore.backends.numpy_ref import read as _read
from mcore.backends.numpy_ref import route as _route
from mcore.backends.numpy_ref import scan as _scan
from mcore.backends.numpy_ref import soup as _soup
from mcore.cache import MemoryState
from mcore.recurrence import Inputs, Recurrence
from mcore.router import Pool, Router
from mcore.segments import Segments


class ReferenceBackend:
    """Token-by-token NumPy: the definition that every other backend is held to.

    Other backends inherit from it what they do not accelerate. Each method is specified in
    `mcore.backend.Backend`.
    """

    name = "reference"
    xp: ModuleType = np

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or 1

    def accelerates(self) -> frozenset[tuple[str, str]]:
        """Nothing: this is the plain form."""
        return frozenset()

    def scan(
        self, rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments
    ) -> tuple[Scan, Any]:
        """Online reads and checkpoints."""
        return _scan.scan(rule, inputs, carry, segments)

    def scan_backward(
        self, saved: Any, d_reads: Array, d_checkpoints: Array
    ) -> tuple[dict[str, Array], Array | None]:
        """Gradients of `scan`."""
        return _scan.scan_backward(saved, d_reads, d_checkpoints)

    def route(
        self, u: Array, keys: Array, segments: Segments, router: Router, pool: Pool
    ) -> tuple[Routes, Any]:
        """Gates and contexts."""
        return _route.route(u, keys, segments, router, pool)

    def route_backward(
        self, saved: Any, d_gates: Array, d_contexts: Array
    ) -> tuple[Array, Array, Pool]:
        """Gradients of `route`."""
        return _route.route_backward(saved, d_gates, d_contexts)

    def read(
        self,
        rule: Recurrence,
        q: Array,
        checkpoints: Array,
        gates: Array | None,
        segments: Segments,
    ) -> tuple[Array, Any]:
        """Weighted answers of the visible checkpoints."""
        return _read.read(rule, q, checkpoints, gates, segments)

    def read_backward(self, saved: Any, dy: Array) -> tuple[Array, Array, Array | None]:
        """Gradients of `read`."""
        return _read.read_backward(saved, dy)

    def fused(self, rule: Recurrence, router: Router) -> Fused | None:
        """Nothing: the definition is composed of its operations."""
        return None

    def sigmoid_read(self, rule: Recurrence) -> SigmoidRead | None:
        """Nothing, as for `fused`."""
        return None

    def soup(
        self,
        rule: Recurrence,
        inputs: Inputs,
        carry: Array | None,
        segments: Segments,
        cached: tuple[Array, Array],
    ) -> tuple[Array, Any]:
        """The answer of the mixed memory."""
        return _soup.soup(rule, inputs, carry, segments, cached)

    def soup_backward(
        self, saved: Any, dy: Array
    ) -> tuple[dict[str, Array], Array | None, Array, Array]:
        """Gradients of `soup`."""
        return _soup.soup_backward(saved, dy)

    def attention(self, q: Array, k: Array, v: Array, window: int | None) -> tuple[Array, Any]:
        """Causal softmax attention."""
        return _attention.attention(q, k, v, window)

    def attention_backward(self, saved: Any, dy: Array) -> tuple[Array, Array, Array]:
        """Gradients of `attention`."""
        return _attention.attention_backward(saved, dy)

    def decoder(self, decoding: Decoding, state: MemoryState) -> Decoder | None:
        """None."""
        return None
