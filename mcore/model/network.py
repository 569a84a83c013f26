"""The network: embedding, blocks, a last norm, and a head.

x = E[tokens];   for each part: x <- x + part(rms_norm(x));   logits = rms_norm(x) W_head

What stands before and after the blocks is the layout's `ends`: of tokens as above, or of series.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mcore.arrays import Array, as_array, received
from mcore.backend import Backend
from mcore.errors import InputError
from mcore.layers.dense import dense_of
from mcore.layers.loss import Loss
from mcore.layers.product import in_dtype
from mcore.model.carry import join_states, packed
from mcore.model.ends import EMBEDDING, FINAL, HEAD
from mcore.model.layout import Layout
from mcore.model.part import Params, State, below, merged, prefixed, scoped
from mcore.model.shards import Shards, add_up, gather_losses, split
from mcore.model.statistics import copy_statistics
from mcore.threads import Workers, at_work

if TYPE_CHECKING:
    from mcore.session import Session
    from mcore.spec import Spec

__all__ = ["EMBEDDING", "FINAL", "HEAD", "Layout", "Model"]


class Model:
    """A network with its parameters: forward, loss, hand-written backward, streaming step.

    Attributes:
        spec: what it was compiled from.
        layout: its parts.
        params: dotted name -> array, where the backend computes; an optimizer may write into the
            arrays.
        fixed: arrays that are not trained, on the host: of series, the statistics of the training
            data.
        dtype: of what goes from part to part; bfloat16 beside parameters in float32, or theirs.
        backend: what runs the fused operations.
        dense: what runs the dense ones.
        workers: threads that share the rows of a batch in `loss` and its backward. Sums over rows
            are formed per thread, so results are bit-identical for the same number of threads.
    """

    def __init__(
        self,
        spec: "Spec",
        layout: Layout,
        params: Params,
        backend: Backend,
        dtype: str | None = None,
    ) -> None:
        self.spec, self.layout, self.backend = spec, layout, backend
        self.params = {name: _placed(array, backend) for name, array in params.items()}
        self.ends, self.fixed = layout.ends, layout.ends.fixed()
        self.dtype: str = dtype or self.params[FINAL].dtype.name
        self.dense = dense_of(backend)
        self.workers = Workers(1 if layout.names_rows else backend.threads)

    @property
    def vocab(self) -> int:
        """Number of different tokens; 0 of a model of series."""
        return self.ends.vocab

    @property
    def channels(self) -> int | None:
        """Numbers per token (C) of a model of series; None of one of tokens."""
        return self.ends.channels

    @property
    def outputs(self) -> int:
        """Numbers per token that come out (O); `vocab` of a model of tokens."""
        return self.ends.outputs

    @property
    def arrays(self) -> Params:
        """All that a snapshot keeps: what is trained, and what is fixed."""
        return self.params | self.fixed

    def standardise(self, statistics: Mapping[str, Array]) -> None:
        """Set the fixed arrays: mean and standard deviation of the training data.

        Raises:
            InputError: other names or shapes than those of `fixed`, or values that cannot be.
        """
        copy_statistics(self.fixed, statistics)

    @cached_property
    def no_decay(self) -> frozenset[str]:
        """Parameters that weight decay leaves alone: norms, gates' rates, biases."""
        return frozenset(
            name for name, x in self.params.items() if x.ndim < 2 or name.endswith("bias")
        )

    def forward(self, tokens: Array, *, document: object = None) -> tuple[Array, Any]:
        """Outputs (B, T, O) of tokens, and what `backward` needs.

        Tokens are (B, T), and the outputs logits (B, T, vocab); or, of series, (B, T, C).
        `document` (B, T) are ids of the documents packed in the rows: no token sees another
        document than its own. Negative ids at a row's end are padding.
        """
        data = self.ends.checked(tokens)
        state = packed(document, data)
        with at_work(self.backend):
            hidden, saved = self._hidden(data, state)
            outputs, head = self.ends.read(self.arrays, hidden, data, state)
        return outputs, (saved, head)

    def backward(self, saved: Any, d_outputs: Array) -> Params:
        """Gradients with the keys of `params`, given those of the outputs."""
        dtype = self.params[FINAL].dtype.name
        d_outputs = as_array("d_outputs", d_outputs, dtype, self.backend.xp)
        with at_work(self.backend):
            return self._hidden_backward(saved[0], *self.ends.read_backward(saved[1], d_outputs))

    def loss(
        self,
        tokens: Array,
        labels: Array,
        state: Mapping[str, Array] | None = None,
        *,
        document: object = None,
    ) -> tuple[Loss, Any]:
        """Mean cross-entropy in nats over the labels (B, T) that are not -1.

        Logits are computed only where there is a label. What labels of series are, and what they
        cost, is said in `model/series_heads.py`. The rows go on from `state`, which is a constant
        in backward, or hold documents as in `forward`.

        Raises:
            InputError: both a state and documents.
        """
        if state and document is not None:
            raise InputError("document: rows that go on from a state hold one document each")
        tokens = self.ends.checked(tokens)
        state = state or packed(document, tokens)
        labels = received("labels", labels, np)
        self.ends.check_labels(tokens, labels)
        if self.workers.count == 1 or len(tokens) < self.workers.count:
            with at_work(self.backend):
                return self._loss((tokens, labels, state))
        shards = split(self.workers.count, tokens, labels, state)
        return gather_losses(self.workers.map(self._loss, shards))

    def end(self, saved: Any) -> State:
        """The state after the last token of a `loss`, to go on from."""
        parts = [part for part, _ in saved.parts] if isinstance(saved, Shards) else [saved]
        return join_states([self._end(*part) for part in parts])

    def loss_backward(self, saved: Any) -> Params:
        """Gradients of `Loss.value` with the keys of `params`."""
        if not isinstance(saved, Shards):
            with at_work(self.backend):
                return self._loss_backward((saved, 1.0))
        return add_up(self.workers.map(self._loss_backward, saved.parts))

    def step(self, tokens: Array, state: State | None = None) -> tuple[Array, State]:
        """Outputs of the next tokens of a stream, and the state to go on from."""
        data, state = self.ends.checked(tokens), state or {}
        with at_work(self.backend):
            hidden, saved = self._hidden(data, state)
            outputs, head = self.ends.read(self.arrays, hidden, data, state)
        return outputs, self._end(saved, head)

    def session(self) -> "Session":
        """A stream that has not begun."""
        from mcore.session import Session

        return Session(self)

    def save(self, path: str | Path) -> None:
        """Write the arrays and the spec as a snapshot (safetensors, atomically)."""
        from mcore.snapshot import Snapshot, write_snapshot
        from mcore.spec import dump_spec

        write_snapshot(Path(path), Snapshot(dump_spec(self.spec), self.arrays))

    def state_bytes(self, tokens: int) -> int:
        """Size of what one stream carries after `tokens` tokens."""
        itemsize = self.params[FINAL].itemsize
        parts = sum(part.state_bytes(tokens, itemsize) for part in self.layout.parts.values())
        return parts + self.ends.state_bytes(itemsize)

    def _end(self, saved: Any, head: Any) -> State:
        parts = merged(
            prefixed(name, part.end(kept))
            for (name, part), kept in zip(self.layout.parts.items(), saved[1], strict=True)
        )
        return parts | self.ends.end(head)

    def _loss(self, shard: tuple[Array, Array, Mapping[str, Array]]) -> tuple[Loss, Any]:
        data, labels, state = shard
        hidden, saved = self._hidden(data, state)
        loss, head = self.ends.loss(self.arrays, hidden, data, labels, dict(state))
        return loss, (saved, head)

    def _loss_backward(self, shard: tuple[Any, float]) -> Params:
        (saved, head), weight = shard
        return self._hidden_backward(saved, *self.ends.loss_backward(head, weight))

    @cached_property
    def _names(self) -> dict[str, dict[str, str]]:
        """For each part: names by which it knows its parameters -> their names in `params`."""
        every: Any = {name: name for name in self.params}
        return {part: cast(Any, scoped(every, part)) for part in self.layout.parts}

    def _hidden(self, data: Array, state: Mapping[str, Array]) -> tuple[Array, Any]:
        x, embedded = self.ends.embed(self.arrays, data)
        x = in_dtype(x, self.dtype)
        kept = []
        for name, part in self.layout.parts.items():
            own = {n: self.params[full] for n, full in self._names[name].items()}
            x, saved = part.forward(own, x, below(state, name))
            kept.append(saved)
        hidden, norm = self.dense.rms_norm.forward(x, self.params[FINAL])
        return hidden, (embedded, kept, norm)

    def _hidden_backward(self, saved: Any, d_hidden: Array, last: Params) -> Params:
        embedded, kept, norm = saved
        dx, d_final = self.dense.rms_norm.backward(norm, in_dtype(d_hidden, self.dtype))
        grads: Params = {FINAL: d_final}
        for (name, part), part_saved in reversed(
            list(zip(self.layout.parts.items(), kept, strict=True))
        ):
            dx, part_grads = part.backward(part_saved, dx)
            grads |= prefixed(name, part_grads)
        grads |= self.ends.embed_backward(embedded, dx)
        for name, gradient in last.items():
            grads[name] = grads[name] + gradient if name in grads else gradient
        return {name: grads[name] for name in self.params}


def _placed(array: Array, backend: Backend) -> Array:
    """A parameter where the backend computes; of its own, for it will be written to."""
    return array if backend.xp is np else cast(Array, backend.xp.array(array))
