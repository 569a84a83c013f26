"""Softmax attention as a token mixer: the baseline, and the other half of hybrids.

y = softmax(q k^T / sqrt(K), causal, window) v W_o
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from mcore.arrays import Array, namespace
from mcore.backend import Backend
from mcore.layers.dense import dense_of
from mcore.layers.init import fan_in
from mcore.layers.linear import linear, linear_backward
from mcore.layers.product import in_dtype
from mcore.model.packed_attention import packed_attention, packed_attention_backward
from mcore.model.part import DOCUMENT, Params, Shapes, State, merged
from mcore.model.projection import Projection
from mcore.model.sizes import Sizes
from mcore.recurrence import Feature, Law


@dataclass(frozen=True)
class AttentionMixer:
    """Mixes tokens by causal attention.

    Attributes:
        backend: runs the attention operation.
        sizes: widths and heads.
        window: tokens that a token sees, itself included; None for all before it.
        out_gain: scale of the last projection at the start.
    """

    backend: Backend
    sizes: Sizes
    window: int | None
    out_gain: float

    @cached_property
    def projection(self) -> Projection:
        """Makes q, k and v, with the same short convolution that memories get."""
        plain, turned = Feature(silu=False), Feature(silu=False, rotary=self.sizes.rope)
        features: dict[str, Law] = {"q": turned, "k": turned, "v": plain}
        widths: dict[str, tuple[int, ...]] = {
            "q": (self.sizes.key,),
            "k": (self.sizes.key,),
            "v": (self.sizes.value,),
        }
        dense, sizes = dense_of(self.backend), self.sizes
        return Projection(features, widths, sizes.width, sizes.heads, sizes.conv, dense)

    @property
    def names_rows(self) -> bool:
        """No."""
        return False

    def shapes(self) -> Shapes:
        """The projection's and `out.weight` (H V, D)."""
        inner = self.sizes.heads * self.sizes.value
        return {**self.projection.shapes(), "out.weight": (inner, self.sizes.width)}

    def init(self, rng: np.random.Generator, dtype: str) -> Params:
        """Starting values."""
        params = self.projection.init(rng, dtype)
        params["out.weight"] = fan_in(rng, self.shapes()["out.weight"], dtype, self.out_gain)
        return params

    def forward(self, params: Params, x: Array, state: State) -> tuple[Array, Any]:
        """y (B, T, D)."""
        inputs, project_saved = self.projection.forward(params, x, state)
        q, k, v = inputs["q"], inputs["k"], inputs["v"]
        if "k" in state:
            xp = namespace(k)
            k = xp.concatenate([state["k"], k], axis=1)
            v = xp.concatenate([state["v"], v], axis=1)
        h, attention_saved = self._attend((q, k, v), state.get(DOCUMENT))
        flat = in_dtype(h.reshape(*h.shape[:2], -1), x.dtype.name)
        y, out_saved = linear(flat, params["out.weight"])
        return y, (project_saved, attention_saved, out_saved, (k, v))

    def backward(self, saved: Any, dy: Array) -> tuple[Array, Params]:
        """Gradients with respect to x and the parameters."""
        project_saved, attention_saved, out_saved, (k, _) = saved
        grads: Params = {}
        dh, grads["out.weight"] = linear_backward(out_saved, dy)
        dh = in_dtype(dh, k.dtype.name)
        dh = dh.reshape(*dh.shape[:2], self.sizes.heads, self.sizes.value)
        packed, kept = attention_saved
        if packed:
            dq, dk, dv = packed_attention_backward(kept, dh)
        else:
            dq, dk, dv = self.backend.attention_backward(kept, dh)
        tokens = dy.shape[1]
        dk, dv = dk[:, -tokens:], dv[:, -tokens:]
        dx, projected = self.projection.backward(project_saved, {"q": dq, "k": dk, "v": dv})
        return dx, merged([grads, projected])

    def _attend(
        self, inputs: tuple[Array, Array, Array], document: Array | None
    ) -> tuple[Array, tuple[bool, Any]]:
        if document is None:
            h, saved = self.backend.attention(*inputs, self.window)
            return h, (False, saved)
        h, saved = packed_attention(self.backend, inputs, self.window, document)
        return h, (True, saved)

    def end(self, saved: Any) -> State:
        """Convolution tail, position, and the keys and values that may still be seen."""
        k, v = saved[3]
        unseen = 0 if self.window is None else max(k.shape[1] - self.window + 1, 0)
        return {**self.projection.end(saved[0]), "k": k[:, unseen:], "v": v[:, unseen:]}

    def flops(self, tokens: int) -> float:
        """Projections, and both products over the mean number of visible tokens."""
        dense = sum(2.0 * prod(s) for s in self.shapes().values() if len(s) == 2)
        pair = 2.0 * self.sizes.heads * (self.sizes.key + self.sizes.value)
        return dense + pair * self._seen(tokens)

    def state_bytes(self, tokens: int, itemsize: int) -> int:
        """Keys and values of the visible past, and the convolution tail."""
        kept = tokens if self.window is None else min(tokens, self.window - 1)
        tail = self.projection.carried
        pairs = kept * self.sizes.heads * (self.sizes.key + self.sizes.value)
        return itemsize * (tail + pairs)

    def _seen(self, tokens: int) -> float:
        window = tokens if self.window is None else min(self.window, tokens)
        return window - window * (window - 1) / (2 * tokens)
