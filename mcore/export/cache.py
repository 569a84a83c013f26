"""A cache of a fixed number of slots: a checkpoint comes in, and one goes if there is none free.

The oldest is at the left of those held. What comes and goes is computed for all rows, and kept in
those whose segment has ended.
"""

from collections.abc import Callable
from typing import NamedTuple

from mcore.cache import LEDGER, CachePolicy
from mcore.export import ops
from mcore.export.algebra import one_hot, row
from mcore.export.builder import Tensor
from mcore.export.rounding import rounded
from mcore.export.rules.base import RuleForm


class Cached(NamedTuple):
    """`Held` with the books. Arrays (B, S, ...), or (B, ...) of one checkpoint.

    Attributes:
        checkpoints: (B, S, H, *state_shape).
        contexts: (B, S, H, K), or None.
        ledger: (B, S, 3) float64 as in `mcore.cache.settle.Cache`; None if the policy reads none.
    """

    checkpoints: Tensor
    contexts: Tensor | None
    ledger: Tensor | None

    def each(self, change: Callable[[Tensor], Tensor]) -> "Cached":
        """Every array changed in the same way."""
        contexts = None if self.contexts is None else change(self.contexts)
        ledger = None if self.ledger is None else change(self.ledger)
        return Cached(change(self.checkpoints), contexts, ledger)

    def where(self, here: Tensor, other: "Cached") -> "Cached":
        """These arrays where `here` (B, S or 1) is true, else the others."""

        def pick(x: Tensor, y: Tensor | None, rank: int) -> Tensor:
            assert y is not None
            return ops.where(ops.expand(here, *range(2, rank)), x, y)

        contexts, ledger = self.contexts, self.ledger
        return Cached(
            pick(self.checkpoints, other.checkpoints, 5),
            None if contexts is None else pick(contexts, other.contexts, 4),
            None if ledger is None else pick(ledger, other.ledger, 3),
        )

    def followed_by(self, new: "Cached") -> "Cached":
        """With one checkpoint (B, ...) more."""

        def join(x: Tensor, y: Tensor | None) -> Tensor:
            assert y is not None
            return ops.concatenate([x, ops.expand(y, 1)], 1)

        contexts, ledger = self.contexts, self.ledger
        return Cached(
            join(self.checkpoints, new.checkpoints),
            None if contexts is None else join(contexts, new.contexts),
            None if ledger is None else join(ledger, new.ledger),
        )


class Store(NamedTuple):
    """What a cache does at a border.

    Attributes:
        form: the recurrence, which mixes memories.
        policy: who goes.
        slots: S.
        sums: whether contexts are sums of keys, not means.
    """

    form: RuleForm
    policy: CachePolicy
    slots: int
    sums: bool

    @property
    def books(self) -> bool:
        """Whether a ledger is kept."""
        return self.policy.evict != "oldest"

    def pushed(self, cache: Cached, new: Cached, count: Tensor) -> Cached:
        """The cache with one checkpoint more, given how many (B,) it held."""
        joined = cache.followed_by(new)
        later = joined.each(lambda x: ops.part(x, 1, 1, self.slots + 1))
        if joined.ledger is None:
            return later
        full = ops.equal(count, self.slots)
        place = ops.where(full, self._victim(joined.ledger), 0)
        before = ops.greater(row(place), ops.arange(place, self.slots))
        stay = joined.each(lambda x: ops.part(x, 1, 0, self.slots)).where(before, later)
        if self.policy.evict != "merge":
            return stay
        here = ops.both(one_hot(place, self.slots), row(full))
        return self._merged(joined, place).where(here, stay)

    def used(self, ledger: Tensor, gates: Tensor | None) -> Tensor:
        """The ledger with a token and its gates (B, S, H) entered."""
        if self.policy.evict != "least_used" or gates is None:
            return ledger
        mass = ops.cast(ops.total(gates, -1) * (1 / self.form.dims.H), "float64")
        came = mass * 0.0
        return ledger + ops.concatenate([row(came), row(came + 1.0), row(mass)], -1)

    def _victim(self, ledger: Tensor) -> Tensor:
        """(B,) the checkpoint of S + 1 that goes, or that is merged into the next one."""
        tokens, since, used = (
            ops.squeeze(ops.part(ledger, -1, i, i + 1), -1) for i in range(LEDGER)
        )
        if self.policy.evict == "merge":
            first, second = (ops.part(tokens, 1, i, self.slots + i) for i in (0, 1))
            return ops.least_place(first + second, 1)
        share = used / ops.maximum(since, 1.0)
        endless = ops.where(ops.greater(since, 0.0), share, float("inf"))
        return ops.least_place(endless, 1)

    def _merged(self, joined: Cached, place: Tensor) -> Cached:
        """The checkpoint at `place` (B,) and the next one as one: (B, 1, ...)."""
        pair = [_picked(joined, one_hot(at, self.slots + 1)) for at in (place, place + 1)]
        ledger = [each.ledger for each in pair if each.ledger is not None]
        tokens = ops.concatenate([ops.part(entry, -1, 0, 1) for entry in ledger], 1)
        both = ops.maximum(ops.total_kept(tokens, 1, 2), 1.0)
        shares = ops.cast(tokens / both, "float32")
        even = shares * 0.0 + 1.0
        mixed = even if self.form.rule.family == "matrix" else shares
        states = ops.concatenate([each.checkpoints for each in pair], 1)
        seen = ops.squeeze(ops.greater(even, 0.0), -1)
        checkpoint = self.form.mix(states, mixed, seen)
        contexts = [each.contexts for each in pair if each.contexts is not None]
        context = None
        if contexts:
            pooled = ops.expand(even if self.sums else shares, -1)
            context = ops.total_kept(ops.concatenate(contexts, 1) * pooled, 1)
        stored = rounded(ops.expand(checkpoint, 1), self.policy.dtype)
        return Cached(stored, context, ledger[0] + ledger[1])


def _picked(cache: Cached, at: Tensor) -> Cached:
    """The column (B, 1, ...) of each array (B, S + 1, ...) where `at` (B, S + 1) is true."""
    alone = cache.where(at, cache.each(lambda x: x.like(0.0)))
    return alone.each(lambda x: ops.total_kept(x, 1))
