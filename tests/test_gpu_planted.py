"""Mistakes planted in the kernels themselves are found by the tests that hold them to the reference."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gpu_cases import Held
from gpu_sanitized import MEMORIES

import mcore
from mcore.backends.cupy_gpu.backend import CupyBackend
from mcore.backends.cupy_gpu.emulation.device import EmulatedDevice
from mcore.testing.agreement import answer
from mcore.testing.strategies import Example, Sizes

HERE = Path(__file__).parent


def found(recurrence: str, readout: str, edit: Callable[[str], str] | None) -> bool:
    """Whether holding a memory to the reference fails."""
    composition: Any = {
        "recurrence": recurrence,
        "segmentation": {"kind": "constant", "length": 9},
        "readout": readout,
        "start": "independent",
    }
    gpu = CupyBackend(device=EmulatedDevice(seed=3, edit=edit))
    memory = mcore.memory(**composition, backend=Held("float64", gpu=gpu), dtype="float64")
    try:
        answer(memory, Example(composition, Sizes(1, 21, 1, 17, 16), 0))
    except (AssertionError, RuntimeError):
        return True
    return False


def without(before: str, after: str, count: int) -> Callable[[str], str]:
    """An edit of those sources that have `before`: its occurrence number `count` becomes `after`."""

    def edit(text: str) -> str:
        parts = text.split(before)
        if len(parts) <= count:
            return text
        return before.join(parts[:count]) + after + before.join(parts[count:])

    return edit


BARRIER = "__syncthreads();"
MISTAKES: dict[str, tuple[str, str, Callable[[str], str]]] = {}


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert not found("gated_linear", "grm", None)
