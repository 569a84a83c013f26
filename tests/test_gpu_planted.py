"""Mistakes planted in the kernels themselves are found by what holds them to the reference."""

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

PROGRAM = Path(__file__).parent / "gpu_sanitized.py"
MISTAKES = {
    "missing barrier": (
        "column, min(COLUMNS, seen.high - column), keys);\n    __syncthreads();",
        "column, min(COLUMNS, seen.high - column), keys);",
    ),
    "wrong stride": ("to[at / N * apart + at % N] = from", "to[at / N * N + at % N] = from"),
    "a logit too many": ("x = seen.sees(i, column + c) ? x", "x = true ? x"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str) -> None:
    before, after = MISTAKES[mistake]
    planted = []

    def edit(text: str) -> str:
        planted.append(before in text)
        return text.replace(before, after)

    with pytest.raises(AssertionError, match="off by"):
        hold_with(edit)
    assert any(planted), "nothing was planted: the kernels have changed"


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    hold_with(None)


def hold_with(edit: Callable[[str], str] | None) -> None:
    """A memory held to the reference on a device whose sources are edited."""
    composition: Any = {
        "recurrence": "gated_linear",
        "segmentation": {"kind": "constant", "length": 9},
        "readout": "grm",
        "start": "independent",
    }
    gpu = CupyBackend(device=EmulatedDevice(seed=3, edit=edit))
    memory = mcore.memory(**composition, backend=Held("float64", gpu=gpu), dtype="float64")
    answer(memory, Example(composition, Sizes(1, 40, 1, 17, 16), 0))


def test_kernels_stay_inside_their_arrays() -> None:
    """Every family under the address and undefined-behaviour sanitizers, forward and backward."""
    done = sanitized()
    assert done.returncode == 0, done.stderr[-4000:]
    assert len(done.stdout.splitlines()) == len(MEMORIES)


def test_a_store_out_of_bounds_is_found() -> None:
    done = sanitized("unbounded")
    assert "heap-buffer-overflow" in done.stderr, done.stderr[-2000:]
    assert "load.cuh" in done.stderr


def sanitized(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """The program, with the sanitizers' libraries loaded before Python's."""
    libraries = [_library(name) for name in ("libasan.so", "libubsan.so")]
    if not all(libraries):
        pytest.skip("g++ has no sanitizers here")
    quiet = "detect_leaks=0:detect_stack_use_after_return=0"
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        env={**os.environ, "LD_PRELOAD": " ".join(libraries), "ASAN_OPTIONS": quiet},
        capture_output=True,
        text=True,
        check=False,
    )


def _library(name: str) -> str:
    asked = ["g++", f"-print-file-name={name}"]
    path = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return path if "/" in path else ""
