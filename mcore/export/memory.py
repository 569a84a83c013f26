"""One token of a memory in a graph: where recurrence, segmentation, readout and cache meet.

    1. If the open segment has ended, its memory becomes a checkpoint.
    2. Where a memory begins, it begins at the rule's initial state.
    3. The token is written; then it reads all memories.

All of a state is zero before the first token: a memory's own start is taken where `position` is 0.
"""

from collections.abc import Mapping

from mcore.cache import LEDGER
from mcore.export import mixture, ops
from mcore.export.border import Open, closes
from mcore.export.branch import rarely
from mcore.export.builder import Tensor
from mcore.export.cache import Cached
from mcore.export.composition import Composition
from mcore.export.readouts import Held, Scene
from mcore.export.rounding import rounded
from mcore.export.rules.base import Inputs

State = dict[str, Tensor]

ENDED = "ended"
"""Beside a state: (B,) whether the open segment has."""


def remembered(
    composition: Composition, x: Inputs, state: Mapping[str, Tensor], position: Tensor
) -> tuple[Tensor, State]:
    """y (B, H, V) of one token, and what is carried on.

    Args:
        composition: the memory.
        x: inputs (B, H, ...) and parameters, as the memory declares them.
        state: as `carried` declares it.
        position: (B,) int64 tokens before in the stream.
    """
    rule = composition.rule
    x = rule.prepare(composition.readout.complete(x))
    after = _begun(composition, _closed(composition, state, x, position), x, position)
    before = after.get("length", position)
    after["online"] = rule.step(after["online"], {**x, "position": before})
    if "length" in after:
        after["length"] = before + 1
    if "keys" in after:
        after["keys"] = after["keys"] + x["k"]
    return _answered(composition, x, after, position), after


def _answered(composition: Composition, x: Inputs, state: State, position: Tensor) -> Tensor:
    """y (B, H, V); the gates are entered into the ledger."""
    rule, readout = composition.rule, composition.memory.readout
    if composition.mixes:
        own, cached = (rule.read(state[name], x.get("q")) for name in ("online", "mixture"))
        return mixture.answered(readout, own, cached, state["count"])
    if not composition.slots:
        return rule.read(state["online"], x.get("q"))
    contexts = state.get("contexts")
    held = Held(composition.slots, state["checkpoints"], contexts, state["count"])
    context = None if contexts is None else _context(composition, state)
    scene = Scene(rule, x, state["online"], context, held, position)
    y, gates = composition.readout.answer(scene)
    if "ledger" in state:
        state["ledger"] = composition.store.used(state["ledger"], gates)
    return y


def _closed(
    composition: Composition, state: Mapping[str, Tensor], x: Inputs, position: Tensor
) -> State:
    """The state with the open segment made a checkpoint, where it has ended."""
    closed = dict(state)
    if not composition.cuts:
        return closed
    opened = Open(position, state["length"], state["online"], state.get("keys"))
    ended = closes(composition.memory.segmentation, opened, composition.rule, x)
    if composition.mixes:
        closed |= _mixed(composition, state, ended)
    if composition.slots:
        closed |= rarely(
            ops.any_of(ended), {**state, ENDED: ended}, lambda x: _pushed(composition, x)
        )
    if "keys" in state:
        keys = state["keys"]
        closed["keys"] = ops.where(ops.expand(ended, 1, 2), keys.like(0.0), keys)
    closed["length"] = ops.where(ended, state["length"].like(0), state["length"])
    return closed


def _mixed(composition: Composition, state: Mapping[str, Tensor], ended: Tensor) -> State:
    """Mixture and count."""
    memory, count, before = composition.memory, state["count"], state["mixture"]
    checkpoint = rounded(state["online"], memory.cache.dtype)
    more = mixture.added(memory.readout, before, checkpoint, count)
    return {
        "mixture": ops.where(ops.expand(ended, 1, 2, 3), more, before),
        "count": count + ops.cast(ended, "int64"),
    }


def _pushed(composition: Composition, state: Mapping[str, Tensor]) -> State:
    """The cache and count."""
    ended = state[ENDED]
    cache = Cached(state["checkpoints"], state.get("contexts"), state.get("ledger"))
    pushed = composition.store.pushed(cache, _checkpoint(composition, state), state["count"])
    kept = pushed.where(ops.expand(ended, 1), cache)._asdict()
    more = ops.minimum(state["count"] + 1, composition.slots)
    found = {name: array for name, array in kept.items() if array is not None}
    return {**found, "count": ops.where(ended, more, state["count"])}


def _checkpoint(composition: Composition, state: Mapping[str, Tensor]) -> Cached:
    """The open segment as a checkpoint."""
    memory = rounded(state["online"], composition.memory.cache.dtype)
    context = _context(composition, state) if "contexts" in state else None
    if "ledger" not in state:
        return Cached(memory, context, None)
    tokens = ops.expand(ops.cast(state["length"], "float64"), -1)
    entry = ops.concatenate([tokens] + [tokens * 0.0] * (LEDGER - 1), -1)
    return Cached(memory, context, entry)


def _context(composition: Composition, state: Mapping[str, Tensor]) -> Tensor:
    """(B, H, K) of the open segment."""
    if composition.store.sums:
        return state["keys"]
    tokens = ops.maximum(ops.cast(state["length"], "float32"), 1.0)
    return state["keys"] / ops.expand(tokens, -1, -2)


def _begun(composition: Composition, state: State, x: Inputs, position: Tensor) -> State:
    """The state whose online memory begins, where it does, at the rule's initial state."""
    initial = composition.rule.initial(x)
    afresh = composition.cuts and composition.memory.start == "independent"
    if initial is None and not afresh:
        return state
    begins = ops.equal(state["length"] if afresh else position, 0)
    start = state["online"].like(0.0) if initial is None else initial
    online = ops.where(ops.expand(begins, 1, 2, 3), start, state["online"])
    return {**state, "online": online}
