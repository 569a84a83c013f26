"""What stands around the blocks: how data become vectors, and what vectors become.

`token_ends`: an embedding, and logits of the next token. `series_ends`: a linear map of channels,
and forecasts, classes or values.
"""

from typing import Any, Protocol

import numpy as np

from mcore.arrays import Array
from mcore.layers.loss import Loss
from mcore.model.part import Params, Shapes, State

EMBEDDING = "embedding.weight"
HEAD = "head.weight"
FINAL = "final.weight"
INPUT = "input.weight"


class Ends(Protocol):
    """The first and the last step of a network; the arrays they need are passed in by name."""

    @property
    def width(self) -> int:
        """D."""

    @property
    def vocab(self) -> int:
        """Number of different tokens; 0 where data are real numbers."""

    @property
    def channels(self) -> int | None:
        """Numbers per token in the data (C); None where data are tokens."""

    @property
    def outputs(self) -> int:
        """Numbers per token that come out (O)."""

    @property
    def tied(self) -> bool:
        """Whether the head is the transposed embedding."""

    def first(self) -> Shapes:
        """Shapes of the parameters before the blocks."""

    def last(self) -> Shapes:
        """Shapes of the parameters after the last norm."""

    def fixed(self) -> Params:
        """Arrays of the model that are not trained, as they are before there are data."""

    def init_first(self, rng: np.random.Generator, dtype: str) -> Params:
        """Starting values of `first`."""

    def init_last(self, rng: np.random.Generator, dtype: str) -> Params:
        """Starting values of `last`."""

    def checked(self, data: Array) -> Array:
        """The data of a call, if they can be used; InputError or ShapeError if not."""

    def check_labels(self, data: Array, labels: Array) -> None:
        """Raise ShapeError if the labels of a loss do not fit the data."""

    def embed(self, arrays: Params, data: Array) -> tuple[Array, Any]:
        """Vectors (B, T, D) of the data."""

    def embed_backward(self, saved: Any, dx: Array) -> Params:
        """Gradients of the parameters that `embed` used."""

    def read(self, arrays: Params, hidden: Array, data: Array, state: State) -> tuple[Array, Any]:
        """Outputs (B, T, O) of the last norm's vectors (B, T, D)."""

    def read_backward(self, saved: Any, d_outputs: Array) -> tuple[Array, Params]:
        """Gradients of hidden and of the parameters that `read` used."""

    def loss(
        self, arrays: Params, hidden: Array, data: Array, labels: Array, state: State
    ) -> tuple[Loss, Any]:
        """How far the outputs are from the labels."""

    def loss_backward(self, saved: Any, d_value: float) -> tuple[Array, Params]:
        """Gradients of hidden and of the parameters that `loss` used."""

    def end(self, saved: Any) -> State:
        """What a `read` or a `loss` carries to the next tokens."""

    def flops(self) -> tuple[float, float]:
        """Useful FLOPs per token before the blocks, and after them."""

    def state_bytes(self, itemsize: int) -> int:
        """Size of what one stream carries."""
