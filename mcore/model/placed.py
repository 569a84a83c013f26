"""What rows carry, where the backend computes: as files give it back, it is all on the host."""

from collections.abc import Mapping
from types import ModuleType
from typing import cast

from mcore.arrays import Array
from mcore.model.part import State
from mcore.placing import on_host


def placed(state: Mapping[str, Array], xp: ModuleType) -> State:
    """The state with what backends compute with in library `xp`.

    Books and counts stay on the host: the ledger of a cache, and all integers but its codes.
    """
    return {
        name: cast(Array, xp.asarray(x)) if _belongs(name, x) else x for name, x in state.items()
    }


def _belongs(name: str, x: Array) -> bool:
    last = name.rpartition(".")[2]
    computed = last == "checkpoints" or (x.dtype.kind == "f" and last != "ledger")
    return on_host(x) and computed
