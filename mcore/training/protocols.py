"""What training needs of a model, and of whoever makes it."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mcore.arrays import Array
from mcore.layers.loss import Scored
from mcore.spec.schema import Spec


class Trainable(Protocol):
    """A model whose parameters can be found by gradient descent."""

    @property
    def params(self) -> Mapping[str, Array]:
        """Parameters by dotted name; the optimizer writes into these arrays."""

    @property
    def arrays(self) -> Mapping[str, Array]:
        """All that a snapshot keeps: `params`, and what is not trained."""

    @property
    def no_decay(self) -> AbstractSet[str]:
        """Names that weight decay leaves alone."""

    def loss(
        self,
        tokens: NDArray[Any],
        labels: NDArray[Any],
        state: Mapping[str, Array] | None = None,
        /,
        *,
        document: NDArray[np.int64] | None = None,
    ) -> tuple[Scored, Any]:
        """Loss over the labels (B, T) that are not -1, and what its gradient needs.

        The rows go on from `state`, if one is given, or hold the documents with these ids.
        """

    def end(self, saved: Any, /) -> Mapping[str, Array]:
        """The state after the last token of a `loss`."""

    def loss_backward(self, saved: Any, /) -> Mapping[str, Array]:
        """Gradient of the loss's value, by the names of `params`."""

    def state_bytes(self, T: int, /) -> int:
        """Bytes that one stream of T tokens keeps."""


Compile = Callable[[Spec], Trainable]
"""Makes a fresh model from a spec: `mcore.compile`."""
