"""Real numbers in and out: a linear map of standardised channels, and a linear head.

x = standardise(data) W_in + b_in;   raw = pool(hidden) W_head + b_head
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array, namespace, received
from mcore.errors import InputError, ShapeError
from mcore.layers.affine import affine, affine_backward
from mcore.layers.init import fan_in, normal
from mcore.layers.loss import Loss
from mcore.layers.pool import running_mean, running_mean_backward
from mcore.layers.product import in_dtype
from mcore.layers.series_loss import series_loss_backward
from mcore.layers.standardise import standardise
from mcore.model.ends import HEAD, INPUT
from mcore.model.part import DOCUMENT, Params, Shapes, State
from mcore.model.series_heads import Head
from mcore.placing import sent

INPUT_BIAS, HEAD_BIAS = "input.bias", "head.bias"
MEAN, STD = "input.mean", "input.std"
SUM, COUNT = "pool.sum", "pool.count"


class _Read(NamedTuple):
    pooled: Any
    linear: Any
    end: State
    arrays: Params


@dataclass(frozen=True)
class SeriesEnds:
    """Data (B, T, C) of real numbers, NaN where a value is missing.

    Attributes:
        width: D.
        channels: C.
        head: what the outputs mean.
        pool: whether the head reads the mean of all tokens so far, and not the token itself.
    """

    width: int
    channels: int
    head: Head
    pool: bool = False
    vocab: int = 0
    tied: bool = False

    @property
    def outputs(self) -> int:
        """O."""
        return self.head.outputs

    def first(self) -> Shapes:
        """The map of the channels, (C, D), and its bias."""
        return {INPUT: (self.channels, self.width), INPUT_BIAS: (self.width,)}

    def last(self) -> Shapes:
        """The head (D, O) and its bias."""
        return {HEAD: (self.width, self.outputs), HEAD_BIAS: (self.outputs,)}

    def fixed(self) -> Params:
        """Mean and standard deviation of each channel, (C,) in float64, and what the head has.

        They stay on the host, where data are standardised.
        """
        statistics = {MEAN: np.zeros(self.channels), STD: np.ones(self.channels)}
        return statistics | self.head.fixed()

    def init_first(self, rng: np.random.Generator, dtype: str) -> Params:
        """A random bias as well: a norm would leave of one channel its sign alone without it."""
        weight = fan_in(rng, (self.channels, self.width), dtype)
        return {INPUT: weight, INPUT_BIAS: normal(rng, (self.width,), 1.0, dtype)}

    def init_last(self, rng: np.random.Generator, dtype: str) -> Params:
        """Small: a forecast begins near its anchor, classes near equal."""
        weight = normal(rng, (self.width, self.outputs), 0.1 * self.width**-0.5, dtype)
        return {HEAD: weight, HEAD_BIAS: np.zeros(self.outputs, dtype)}

    def checked(self, data: Array) -> Array:
        """Real numbers (B, T, C), none of them infinite."""
        x = received("series", data, np)
        if x.ndim != 3 or x.shape[2] != self.channels or 0 in x.shape:
            wanted = f"(B, T, {self.channels}) with T at least 1"
            raise ShapeError(f"series: shape {x.shape}, expected {wanted}")
        if x.dtype.kind not in "iuf":
            raise InputError(f"series: {x.dtype}, expected real numbers")
        if x.dtype.kind == "f" and np.isinf(x).any():
            row, token, channel = np.argwhere(np.isinf(x))[0]
            where = f"{x[row, token, channel]} at row {row}, token {token}, channel {channel}"
            raise InputError(f"series: {where}; NaN marks a missing value")
        return x

    def check_labels(self, data: Array, labels: Array) -> None:
        """As the head wants them."""
        self.head.check_labels(data, labels)

    def embed(self, arrays: Params, data: Array) -> tuple[Array, Any]:
        """Standardised, then projected."""
        z = standardise(data, arrays[MEAN], arrays[STD], arrays[INPUT].dtype)
        return affine(sent(arrays[INPUT], z), arrays[INPUT], arrays[INPUT_BIAS])

    def embed_backward(self, saved: Any, dx: Array) -> Params:
        """Gradients of the map and its bias."""
        _, d_weight, d_bias = affine_backward(saved, in_dtype(dx, saved[2]))
        return {INPUT: d_weight, INPUT_BIAS: d_bias}

    def read(self, arrays: Params, hidden: Array, data: Array, state: State) -> tuple[Array, Any]:
        """Outputs (B, T, O): in the data's units, or logits of classes."""
        raw, saved = self._raw(arrays, hidden, state)
        return self.head.finish(arrays, raw, data), saved

    def read_backward(self, saved: Any, d_outputs: Array) -> tuple[Array, Params]:
        """Gradients of hidden and of the head."""
        return self._raw_backward(saved, self.head.finish_backward(saved.arrays, d_outputs))

    def loss(
        self, arrays: Params, hidden: Array, data: Array, labels: Array, state: State
    ) -> tuple[Loss, Any]:
        """As the head says."""
        raw, saved = self._raw(arrays, hidden, state)
        loss, cost = self.head.loss(arrays, raw, data, labels)
        return loss, (cost, saved)

    def loss_backward(self, saved: Any, d_value: float) -> tuple[Array, Params]:
        """Gradients of hidden and of the head."""
        cost, read = saved
        return self._raw_backward(read, series_loss_backward(cost, d_value))

    def end(self, saved: Any) -> State:
        """The sum of all tokens so far and their number, if the head reads the mean."""
        read: _Read = saved if isinstance(saved, _Read) else saved[1]
        return read.end

    def flops(self) -> tuple[float, float]:
        """Two products."""
        return 2.0 * self.channels * self.width, 2.0 * self.width * self.outputs

    def state_bytes(self, itemsize: int) -> int:
        """D numbers and a count, if the head reads the mean."""
        return self.width * itemsize + 8 if self.pool else 0

    def _raw(self, arrays: Params, hidden: Array, state: State) -> tuple[Array, _Read]:
        pooled, end, hidden = None, State(), in_dtype(hidden, arrays[HEAD].dtype.name)
        if self.pool:
            hidden, pooled, end = _pool(hidden, state)
        raw, linear = affine(hidden, arrays[HEAD], arrays[HEAD_BIAS])
        return raw, _Read(pooled, linear, end, arrays)

    def _raw_backward(self, saved: _Read, d_raw: Array) -> tuple[Array, Params]:
        d_hidden, d_weight, d_bias = affine_backward(saved.linear, d_raw)
        if self.pool:
            d_hidden = running_mean_backward(saved.pooled, d_hidden)
        return d_hidden, {HEAD: d_weight, HEAD_BIAS: d_bias}


def _pool(hidden: Array, state: State) -> tuple[Array, Any, State]:
    """The running mean, what its backward needs, and what is carried on."""
    if DOCUMENT in state:
        raise InputError("document: a pooled head has one mean a row; feed documents as rows")
    rows, tokens, width = hidden.shape
    total = state.get(SUM)
    if total is None:
        total = namespace(hidden).zeros((rows, width), hidden.dtype)
    count = state.get(COUNT, np.zeros(rows, np.int64))
    pooled, saved = running_mean(hidden, total, count)
    return pooled, saved, {SUM: saved[0], COUNT: count + tokens}
