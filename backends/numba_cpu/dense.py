"""The dense pairs that have kernels here, on a given number of threads."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from mcore.backends.numba_cpu import dense_feature as _feature
from mcore.backends.numba_cpu import dense_gated_norm as _gated_norm
from mcore.backends.numba_cpu import dense_mlp as _mlp
from mcore.backends.numba_cpu import dense_norm as _norm
from mcore.layers.dense import Dense, Pair


@cache
def dense(threads: int) -> Dense:
    """The pairs; what is not here is plain."""

    def pair(forward: Callable[..., Any], backward: Callable[..., Any]) -> Pair:
        return Pair(partial(forward, threads=threads), partial(backward, threads=threads))

    return Dense(
        rms_norm=pair(_norm.rms_norm, _norm.rms_norm_backward),
        gated_rms_norm=pair(_gated_norm.gated_rms_norm, _gated_norm.gated_rms_norm_backward),
        feature=pair(_feature.feature, _feature.feature_backward),
        swiglu=pair(_mlp.swiglu, _mlp.swiglu_backward),
    )
