"""The dense pairs that a backend may bring kernels for: each where one was measured to pay.

The formulation over the array library is the definition, and what a backend has that brings none.
A backend brings its own as an attribute `dense`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from mcore.layers import embedding as _embedding
from mcore.layers import feature as _feature
from mcore.layers import gated_norm as _gated_norm
from mcore.layers import loss as _loss
from mcore.layers import mlp as _mlp
from mcore.layers import norm as _norm
from mcore.layers import rope as _rope


class Pair(NamedTuple):
    """A forward and its backward; arguments, results and gradients as of the plain pair."""

    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[..., Any]


class Dense(NamedTuple):
    """The pairs by name."""

    rms_norm: Pair = Pair(_norm.rms_norm, _norm.rms_norm_backward)
    gated_rms_norm: Pair = Pair(_gated_norm.gated_rms_norm, _gated_norm.gated_rms_norm_backward)
    feature: Pair = Pair(_feature.feature, _feature.feature_backward)
    swiglu: Pair = Pair(_mlp.swiglu, _mlp.swiglu_backward)
    head_loss: Pair = Pair(_loss.head_loss, _loss.head_loss_backward)
    rotary: Pair = Pair(_rope.rotary, _rope.rotary_backward)
    embedding: Pair = Pair(_embedding.embedding, _embedding.embedding_backward)


PLAIN = Dense()


def dense_of(backend: object) -> Dense:
    """A backend's own pairs, or the plain ones."""
    found: Dense = getattr(backend, "dense", PLAIN)
    return found
