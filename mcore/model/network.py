"""The network: embedding, blocks, a last norm, and a head.

x = E[tokens];   for each part: x <- x + part(rms_norm(x));   logits = rms_norm(x) W_head
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Backend
from mcore.errors import InputError, ShapeError
from mcore.layers.dense import dense_of
from mcore.layers.embedding import embedding, embedding_backward
from mcore.layers.init import normal
from mcore.layers.linear import linear, linear_backward
from mcore.layers.loss import Loss
from mcore.model.block import Residual
from mcore.model.carry import join_states, packed
from mcore.model.part import Params, Shapes, State, below, merged, prefixed, scoped
from mcore.model.shards import Shards, add_up, gather_losses, split
from mcore.threads import Workers, blas_threads

if TYPE_CHECKING:
    from mcore.session import Session
    from mcore.spec import Spec

EMBEDDING = "embedding.weight"
HEAD = "head.weight"
FINAL = "final.weight"


class Layout(NamedTuple):
    """The parts of a network, in order, and what stands around them.

    Attributes:
        parts: dotted name -> part, e.g. `blocks.0.mixer`.
        width: D.
        vocab: number of different tokens.
        tied: whether the head is the transposed embedding.
    """

    parts: dict[str, Residual]
    width: int
    vocab: int
    tied: bool

    @property
    def names_rows(self) -> bool:
        """Whether a part tells the rows of a batch apart."""
        return any(part.names_rows for part in self.parts.values())

    def shapes(self) -> Shapes:
        """Shapes of all parameters."""
        shapes: Shapes = {EMBEDDING: (self.vocab, self.width)}
        shapes |= merged(prefixed(name, part.shapes()) for name, part in self.parts.items())
        shapes[FINAL] = (self.width,)
        return shapes if self.tied else shapes | {HEAD: (self.width, self.vocab)}

    def init(self, rng: np.random.Generator, dtype: str) -> Params:
        """Starting values, in the order of `shapes`: a pure function of the generator."""
        std = self.width**-0.5
        params: Params = {EMBEDDING: normal(rng, (self.vocab, self.width), std, dtype)}
        for name, part in self.parts.items():
            params |= prefixed(name, part.init(rng, dtype))
        params[FINAL] = np.ones(self.width, dtype)
        if not self.tied:
            params[HEAD] = normal(rng, (self.width, self.vocab), std, dtype)
        return params


class Model:
    """A network with its parameters: forward, loss, hand-written backward, streaming step.

    Attributes:
        spec: what it was compiled from.
        layout: its parts.
        params: dotted name -> array; an optimizer may write into the arrays.
        backend: what runs the fused operations.
        dense: what runs the dense ones.
        workers: threads that share the rows of a batch in `loss` and its backward. Sums over rows
            are formed per thread, so results are bit-identical for the same number of threads.
    """

    def __init__(self, spec: "Spec", layout: Layout, params: Params, backend: Backend) -> None:
        self.spec, self.layout, self.params, self.backend = spec, layout, params, backend
        self.dense = dense_of(backend)
        self.workers = Workers(1 if layout.names_rows else backend.threads)

    @property
    def vocab(self) -> int:
        """Number of different tokens."""
        return self.layout.vocab

    @cached_property
    def no_decay(self) -> frozenset[str]:
        """Parameters that weight decay leaves alone: norms, gates' rates, biases."""
        return frozenset(
            name for name, x in self.params.items() if x.ndim < 2 or name.endswith("bias")
        )

    def forward(self, tokens: Array, *, document: object = None) -> tuple[Array, Any]:
        """Logits (B, T, vocab) of tokens (B, T), and what `backward` needs.

        `document` (B, T) are ids of the documents packed in the rows: no token sees another
        document than its own. Negative ids at a row's end are padding.
        """
        with blas_threads(self.backend.threads):
            hidden, saved = self._hidden(tokens, packed(document, tokens))
            logits, head = linear(hidden, self._head)
        return logits, (saved, head)

    def backward(self, saved: Any, dlogits: Array) -> Params:
        """Gradients with the keys of `params`, given those of the logits."""
        with blas_threads(self.backend.threads):
            d_hidden, d_head = linear_backward(saved[1], dlogits)
            return self._hidden_backward(saved[0], d_hidden, d_head)

    def loss(
        self,
        tokens: Array,
        labels: Array,
        state: Mapping[str, Array] | None = None,
        *,
        document: object = None,
    ) -> tuple[Loss, Any]:
        """Mean cross-entropy in nats over the labels (B, T) that are not -1.

        Logits are computed only where there is a label. The rows go on from `state`, which is a
        constant in backward, or hold documents as in `forward`.

        Raises:
            InputError: both a state and documents.
        """
        if state and document is not None:
            raise InputError("document: rows that go on from a state hold one document each")
        state = state or packed(document, tokens)
        if labels.shape != tokens.shape:
            raise ShapeError(
                f"labels: shape {labels.shape}, expected that of tokens {tokens.shape}"
            )
        if self.workers.count == 1 or len(tokens) < self.workers.count:
            with blas_threads(self.backend.threads):
                return self._loss((tokens, labels, state))
        shards = split(self.workers.count, tokens, labels, state)
        return gather_losses(self.workers.map(self._loss, shards))

    def end(self, saved: Any) -> State:
        """The state after the last token of a `loss`, to go on from."""
        parts = [part for part, _ in saved.parts] if isinstance(saved, Shards) else [saved]
        return join_states([self._end(part[0][1]) for part in parts])

    def loss_backward(self, saved: Any) -> Params:
        """Gradients of `Loss.value` with the keys of `params`."""
        if not isinstance(saved, Shards):
            with blas_threads(self.backend.threads):
                return self._loss_backward((saved, 1.0))
        return add_up(self.workers.map(self._loss_backward, saved.parts))

    def step(self, tokens: Array, state: State | None = None) -> tuple[Array, State]:
        """Logits of the next tokens (B, T) of a stream, and the state to go on from."""
        with blas_threads(self.backend.threads):
            hidden, saved = self._hidden(tokens, state or {})
            logits, _ = linear(hidden, self._head)
        return logits, self._end(saved[1])

    def session(self) -> "Session":
        """A stream that has not begun."""
        from mcore.session import Session

        return Session(self)

    def save(self, path: str | Path) -> None:
        """Write the parameters and the spec as a snapshot (safetensors, atomically)."""
        from mcore.snapshot import Snapshot, write_snapshot
        from mcore.spec import dump_spec

        write_snapshot(Path(path), Snapshot(dump_spec(self.spec), self.params))

    def state_bytes(self, tokens: int) -> int:
        """Size of what one stream carries after `tokens` tokens."""
        itemsize = self.params[EMBEDDING].itemsize
        return sum(part.state_bytes(tokens, itemsize) for part in self.layout.parts.values())

    def _end(self, kept: Sequence[Any]) -> State:
        return merged(
            prefixed(name, part.end(saved))
            for (name, part), saved in zip(self.layout.parts.items(), kept, strict=True)
        )

    def _loss(self, shard: tuple[Array, Array, Mapping[str, Array]]) -> tuple[Loss, Any]:
        tokens, labels, state = shard
        hidden, saved = self._hidden(tokens, state)
        loss, head = self.dense.head_loss.forward(hidden, self._head, labels)
        return loss, (saved, head)

    def _loss_backward(self, shard: tuple[Any, float]) -> Params:
        (saved, head), weight = shard
        d_hidden, d_head = self.dense.head_loss.backward(head, weight)
        return self._hidden_backward(saved, d_hidden, d_head)

    @property
    def _head(self) -> Array:
        return self.params[EMBEDDING].T if self.layout.tied else self.params[HEAD]

    def _hidden(self, tokens: Array, state: Mapping[str, Array]) -> tuple[Array, Any]:
        x, embedded = embedding(self._checked(tokens), self.params[EMBEDDING])
        kept = []
        for name, part in self.layout.parts.items():
            x, saved = part.forward(scoped(self.params, name), x, below(state, name))
            kept.append(saved)
        hidden, norm = self.dense.rms_norm.forward(x, self.params[FINAL])
        return hidden, (embedded, kept, norm)

    def _hidden_backward(self, saved: Any, d_hidden: Array, d_head: Array) -> Params:
        embedded, kept, norm = saved
        dx, d_final = self.dense.rms_norm.backward(norm, d_hidden)
        grads: Params = {FINAL: d_final}
        for (name, part), part_saved in reversed(
            list(zip(self.layout.parts.items(), kept, strict=True))
        ):
            dx, part_grads = part.backward(part_saved, dx)
            grads |= prefixed(name, part_grads)
        grads[EMBEDDING] = embedding_backward(embedded, dx)
        if self.layout.tied:
            grads[EMBEDDING] = grads[EMBEDDING] + d_head.T
        else:
            grads[HEAD] = d_head
        return {name: grads[name] for name in self.params}

    def _checked(self, tokens: Array) -> Array:
        tokens = np.asarray(tokens)
        if tokens.ndim != 2 or 0 in tokens.shape:
            raise ShapeError(f"tokens: shape {tokens.shape}, expected (B, T) with T at least 1")
        if tokens.dtype.kind not in "iu":
            raise InputError(f"tokens: {tokens.dtype}, expected integers below {self.vocab}")
        return tokens
