"""Gradients of the images of mirror descent, in the terms of `mirror_image`.

Moneta     dA += (3 u^2 dW - 2 u^3 <dW, u^3> / n^2) / n,   n = sqrt(sum u^4)
Memora     dA += W (dW - <W, dW>)
"""

from typing import Any

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.mirror_image import inverse_size


@device
def image_backward(quartic: bool, source: Any, image: Any, d: Any) -> None:
    """Add the gradient of the image to that of A; d: d_weights, d_source, scratch (E,)."""
    d_weights, d_source, mean = d
    if quartic:
        _quartic_backward(source[0], (image, 0), d_weights[0], d_source[0])
        _quartic_backward(source[1], (image, 1), d_weights[1], d_source[1])
    else:
        _columns_softmax_backward(image, d_weights[0], d_source[0], mean)
        _rows_softmax_backward(image, d_weights[1], d_source[1])


@device
def _quartic_backward(source: Any, of: Any, d_weights: Any, d_source: Any) -> None:
    image, m = of
    one, along = source.dtype.type(1), source.dtype.type(0)
    cubes, inverse, norm = image.weights[m], inverse_size(image.largest)[m], one / image.norms[m]
    for i in range(source.shape[0]):
        for e in range(source.shape[1]):
            along += d_weights[i, e] * cubes[i, e]
    outer, along = (one + one + one) * norm, (one + one) * along * norm * norm * norm
    for i in range(source.shape[0]):
        for e in range(source.shape[1]):
            u = source[i, e] * inverse
            d_source[i, e] += u * u * (outer * d_weights[i, e] - along * u)


@device
def _columns_softmax_backward(image: Any, d_weights: Any, d_source: Any, mean: Any) -> None:
    weights, scale = image.weights[0], image.scale_in
    mean[:] = 0
    for i in range(weights.shape[0]):
        for e in range(scale.shape[0]):
            mean[e] += weights[i, e] * d_weights[i, e]
    for e in range(scale.shape[0]):
        mean[e] *= scale[e]
    for i in range(weights.shape[0]):
        for e in range(scale.shape[0]):
            d_source[i, e] += weights[i, e] * scale[e] * (d_weights[i, e] - mean[e])


@device
def _rows_softmax_backward(image: Any, d_weights: Any, d_source: Any) -> None:
    for i in range(image.scale_out.shape[0]):
        weights, scale, mean = image.weights[1, i], image.scale_out[i], d_source.dtype.type(0)
        for e in range(weights.shape[0]):
            mean += weights[e] * d_weights[i, e]
        mean *= scale
        for e in range(weights.shape[0]):
            d_source[i, e] += weights[e] * scale * (d_weights[i, e] - mean)
