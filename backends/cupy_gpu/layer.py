"""A routed memory layer whose scan is done: what gates and reads work on, and what they give."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backends.cupy_gpu.anatomy import Anatomy
from mcore.backends.cupy_gpu.route import Keys
from mcore.backends.cupy_gpu.sight import Sight


class Layer(NamedTuple):
    """What the kernels of a layer work on.

    Attributes:
        q: (B, T, H, K) queries; u and the keys of contexts are in `x`.
        reads: (B, T, H, V) answers of the online memory.
        cached, own: (B, cached, H, P), (B, S, H, P) checkpoints.
        form: of them.
        x: what contexts are made of.
        contexts: (B, S, H, K) of this call's segments.
        online: (B, T, H) logits of the online memory.
        sight: who sees what.
    """

    q: Array
    reads: Array
    cached: Array
    own: Array
    form: Anatomy
    x: Keys
    contexts: Array
    online: Array
    sight: Sight

    @property
    def lead(self) -> tuple[int, int, int]:
        """B, T, H."""
        rows, tokens, heads, _ = self.q.shape
        return rows, tokens, heads

    @property
    def memories(self) -> tuple[Array, ...]:
        """Checkpoints and contexts, as kernels take them."""
        return self.cached, self.own, self.x.cached, self.contexts

    @property
    def sizes(self) -> tuple[int, ...]:
        """As kernels take them."""
        form, (_, tokens, heads) = self.form, self.lead
        counts = (self.cached.shape[1], self.own.shape[1])
        return tokens, heads, form.keys, form.values, *counts, form.size, form.stride, form.divided


class Ends(NamedTuple):
    """Gradients of checkpoints, (B, cached, H, P) and (B, S, H, P), and of contexts likewise."""

    cached: Array
    own: Array
    cached_contexts: Array
    contexts: Array


class Outcome(NamedTuple):
    """What a layer's gates and reads give, and what their backward needs besides the layer.

    Attributes:
        y: (B, T, H, V).
        kept: of the softmax of each token.
    """

    y: Array
    kept: Any


class Backward(NamedTuple):
    """Gradients of q, u, the online answers and the online logits; those of `Ends` are added."""

    q: Array
    u: Array
    reads: Array
    online: Array


class Kernels(NamedTuple):
    """Gates and reads of a layer.

    Attributes:
        forward: `(device, layer, router) -> Outcome`.
        backward: `(device, (layer, kept), dy, router, ends) -> Backward`.
    """

    forward: Callable[..., Outcome]
    backward: Callable[..., Backward]
