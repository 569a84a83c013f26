"""What is held out: the end of each series, or some of the rows."""

import hashlib
from collections.abc import Sequence

from mcore.data.series.record import Series


def cut_in_time(series: Series, share: float) -> int:
    """How many tokens of a series are for training: all before its last `share`.

    At least one token is held out, and one is not.
    """
    tokens = len(series.x)
    return min(max(tokens - max(1, round(share * tokens)), 1), tokens)


def split_rows(rows: Sequence[Series], share: float) -> tuple[list[Series], list[Series]]:
    """(training, held-out) rows, by a hash of each row's place and values.

    A row stays on its side when others come or go; both sides get at least one.
    """
    ranked = sorted(rows, key=_rank)
    held_out = min(max(1, round(share * len(ranked))), len(ranked) - 1)
    chosen = {id(row) for row in ranked[:held_out]}
    train = [row for row in rows if id(row) not in chosen]
    return train, [row for row in rows if id(row) in chosen]


def _rank(row: Series) -> str:
    return hashlib.sha256(row.x.tobytes() + str(row.label).encode()).hexdigest()
