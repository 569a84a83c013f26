"""Helpers for tests that look into run folders."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mcore.snapshot import read_snapshot

TIMINGS = ("seconds", "tokens_per_second")


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics without the timings."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in TIMINGS} for record in records]


def same_runs(a: Path, b: Path) -> None:
    """Assert that two finished runs are equal in every bit but the timings."""
    assert metrics(a) == metrics(b)
    for name in ("last", "previous", "best"):
        x, y = (read_snapshot(run / f"{name}.safetensors") for run in (a, b))
        assert x.spec == y.spec
        assert x.step == y.step
        assert {**x.state, "seconds": 0} == {**y.state, "seconds": 0}
        for left, right in ((x.params, y.params), (x.optimizer, y.optimizer)):
            assert left.keys() == right.keys()
            for key in left:
                np.testing.assert_array_equal(left[key], right[key])
