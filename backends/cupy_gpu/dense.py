"""The dense pairs that have kernels here, on a given device."""

from collections.abc import Callable
from functools import partial
from typing import Any

from mcore.backends.cupy_gpu import dense_embedding as _embedding
from mcore.backends.cupy_gpu import dense_feature as _feature
from mcore.backends.cupy_gpu import dense_gated_norm as _gated_norm
from mcore.backends.cupy_gpu import dense_loss as _loss
from mcore.backends.cupy_gpu import dense_norm as _norm
from mcore.backends.cupy_gpu import dense_rotary as _rotary
from mcore.backends.cupy_gpu import dense_swiglu as _swiglu
from mcore.backends.cupy_gpu.device import Device
from mcore.layers.dense import Dense, Pair


def dense_on(device: Device) -> Dense:
    """The pairs."""

    def pair(forward: Callable[..., Any], backward: Callable[..., Any]) -> Pair:
        return Pair(partial(forward, device=device), partial(backward, device=device))

    return Dense(
        rms_norm=pair(_norm.rms_norm, _norm.rms_norm_backward),
        gated_rms_norm=pair(_gated_norm.gated_rms_norm, _gated_norm.gated_rms_norm_backward),
        feature=pair(_feature.feature, _feature.feature_backward),
        swiglu=pair(_swiglu.swiglu, _swiglu.swiglu_backward),
        head_loss=pair(_loss.head_loss, _loss.head_loss_backward),
        rotary=pair(_rotary.rotary, _rotary.rotary_backward),
        embedding=pair(_embedding.embedding, _embedding.embedding_backward),
    )
