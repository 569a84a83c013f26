"""What a snapshot says of a run, held to what the run is."""

from collections.abc import Mapping

from mcore.arrays import Array
from mcore.data import Batch, PackedBatch
from mcore.errors import SnapshotError
from mcore.model.carried import check_carried
from mcore.placing import sent
from mcore.snapshot import Snapshot
from mcore.training.protocols import Trainable
from mcore.training.state import State


def state_of(snapshot: Snapshot, steps: int) -> State:
    """Where a run of `steps` steps stood.

    Raises: SnapshotError when no such run stands there.
    """
    try:
        state = State.from_json(snapshot.state)
    except (KeyError, TypeError, ValueError) as error:
        raise SnapshotError(f"the snapshot is not of a run: {error}") from None
    if state.step != snapshot.step or not state.evaluated <= state.step <= steps:
        raise SnapshotError(f"the snapshot is not of this run: it says step {state.step}")
    if {state.evaluation is None, state.best is None} != {state.evaluated == 0}:
        raise SnapshotError("the snapshot is not of a run: an evaluation without a step, or back")
    return state


def rows_of(
    carried: Mapping[str, Array], model: Trainable, batch: Batch | PackedBatch
) -> dict[str, Array]:
    """What rows carry between pieces, where the model keeps it, held to what one row carries.

    Raises: SnapshotError when the rows of `batch` never carry that.
    """
    _, saved = model.loss(batch.tokens[:1, :1], batch.labels[:1, :1])
    one = dict(model.end(saved))
    try:
        check_carried(carried, one)
    except SnapshotError as error:
        raise SnapshotError(f"the snapshot is not of this run: {error}") from None
    if {len(array) for array in carried.values()} != {len(batch.tokens)}:
        raise SnapshotError("the snapshot is not of this run: it carries another batch")
    return {name: sent(one[name], array) for name, array in carried.items()}
