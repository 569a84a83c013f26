"""Tokens in, logits of tokens out: an embedding, and a head that may be the embedding again."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcore.arrays import Array, received
from mcore.errors import InputError, ShapeError
from mcore.layers.dense import PLAIN, Dense
from mcore.layers.init import normal
from mcore.layers.linear import linear, linear_backward
from mcore.layers.loss import Loss
from mcore.model.ends import EMBEDDING, HEAD
from mcore.model.part import Params, Shapes, State


@dataclass(frozen=True)
class TokenEnds:
    """x = E[tokens];   logits = hidden W, with W = E^T if `tied`."""

    width: int
    vocab: int
    tied: bool
    dense: Dense = PLAIN
    channels: None = None

    @property
    def outputs(self) -> int:
        """One logit for each token."""
        return self.vocab

    def first(self) -> Shapes:
        """The table (vocab, D)."""
        return {EMBEDDING: (self.vocab, self.width)}

    def last(self) -> Shapes:
        """The head (D, vocab), unless it is the table."""
        return {} if self.tied else {HEAD: (self.width, self.vocab)}

    def fixed(self) -> Params:
        """Nothing."""
        return {}

    def init_first(self, rng: np.random.Generator, dtype: str) -> Params:
        """Rows of about unit length."""
        return self._normal(self.first(), rng, dtype)

    def init_last(self, rng: np.random.Generator, dtype: str) -> Params:
        """As the table."""
        return self._normal(self.last(), rng, dtype)

    def checked(self, data: Array) -> Array:
        """Tokens (B, T) of integers."""
        tokens = received("tokens", data, np)
        if tokens.ndim != 2 or 0 in tokens.shape:
            raise ShapeError(f"tokens: shape {tokens.shape}, expected (B, T) with T at least 1")
        if tokens.dtype.kind not in "iu":
            raise InputError(f"tokens: {tokens.dtype}, expected integers below {self.vocab}")
        return tokens

    def check_labels(self, data: Array, labels: Array) -> None:
        """One for each token."""
        if labels.shape != data.shape:
            raise ShapeError(f"labels: shape {labels.shape}, expected that of tokens {data.shape}")

    def embed(self, arrays: Params, data: Array) -> tuple[Array, Any]:
        """A row of the table for each token."""
        found: tuple[Array, Any] = self.dense.embedding.forward(data, arrays[EMBEDDING])
        return found

    def embed_backward(self, saved: Any, dx: Array) -> Params:
        """The gradient of the table."""
        return {EMBEDDING: self.dense.embedding.backward(saved, dx)}

    def read(self, arrays: Params, hidden: Array, data: Array, state: State) -> tuple[Array, Any]:
        """Logits (B, T, vocab)."""
        weight = self.weight(arrays)
        return linear(hidden, weight, weight.dtype.name)

    def read_backward(self, saved: Any, d_outputs: Array) -> tuple[Array, Params]:
        """Gradients of hidden and of the head."""
        return self._named(linear_backward(saved, d_outputs))

    def loss(
        self, arrays: Params, hidden: Array, data: Array, labels: Array, state: State
    ) -> tuple[Loss, Any]:
        """Mean cross-entropy in nats over the labels (B, T) that are not -1."""
        loss, saved = self.dense.head_loss.forward(hidden, self.weight(arrays), labels)
        return loss, saved

    def loss_backward(self, saved: Any, d_value: float) -> tuple[Array, Params]:
        """Gradients of hidden and of the head."""
        return self._named(self.dense.head_loss.backward(saved, d_value))

    def end(self, saved: Any) -> State:
        """Nothing is carried."""
        return {}

    def flops(self) -> tuple[float, float]:
        """A table is looked up; the head is a product, where there is a label."""
        return 0.0, 2.0 * self.vocab * self.width

    def state_bytes(self, itemsize: int) -> int:
        """0."""
        return 0

    def weight(self, arrays: Params) -> Array:
        """W (D, vocab)."""
        return arrays[EMBEDDING].T if self.tied else arrays[HEAD]

    def _named(self, gradients: tuple[Array, Array]) -> tuple[Array, Params]:
        d_hidden, d_weight = gradients
        return d_hidden, {EMBEDDING: d_weight.T} if self.tied else {HEAD: d_weight}

    def _normal(self, shapes: Shapes, rng: np.random.Generator, dtype: str) -> Params:
        std = self.width**-0.5
        return {name: normal(rng, shape, std, dtype) for name, shape in shapes.items()}
