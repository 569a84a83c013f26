"""What a memory's graph carries from token to token. All of it is zero before the first."""

from mcore.cache import LEDGER
from mcore.export.composition import Composition
from mcore.export.declared import Declared


def carried(composition: Composition) -> list[Declared]:
    """All states but the position."""
    rows, width = composition.memory.rule.state_shape(composition.dims)
    heads, keys = composition.dims.H, composition.dims.K
    one: tuple[int | str, ...] = ("B", heads, rows, width)
    axes, holds = composition.rule.axes, composition.rule.holds
    found = [Declared("online", f"B H {axes}", one, f"memory of the open segment: {holds}")]
    if composition.cuts:
        found.append(_count("length", "tokens of the open segment so far"))
    if composition.pools:
        found.append(Declared("keys", "B H K", ("B", heads, keys), "sum of its keys"))
    if composition.mixes:
        found.append(_count("count", "segments that have ended"))
        found.append(Declared("mixture", f"B H {axes}", one, "their memories, as one"))
    return found + (_cache(composition, one, keys) if composition.slots else [])


def _cache(composition: Composition, one: tuple[int | str, ...], keys: int) -> list[Declared]:
    slots = composition.slots
    found = [
        _count("count", "checkpoints held"),
        Declared(
            "checkpoints", f"B S H {composition.rule.axes}", ("B", slots, *one[1:]),
            "memories at the ends of segments, the oldest first, in the last `count` slots",
        ),
    ]  # fmt: skip
    if composition.memory.readout.routing is not None:
        pooled = "sum" if composition.store.sums else "mean"
        shape = ("B", slots, one[1], keys)
        found.append(Declared("contexts", "B S H K", shape, f"{pooled} of each one's keys"))
    if composition.store.books:
        meaning = "of each one: its tokens, tokens since, gate mass received"
        found.append(Declared("ledger", "B S 3", ("B", slots, LEDGER), meaning, "float64"))
    return found


def _count(name: str, meaning: str) -> Declared:
    return Declared(name, "B", ("B",), meaning, "int64")
