"""The operations of the backend on a host whose vector unit is unknown: plain loops inside."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def test_operations_on_portable_kernels() -> None:
    rules = "gated_delta or gla or mlstm or rwkv7 or titans"
    cases = f"ragged and rows and float64 and ({rules})"
    run_portable("test_numba_scan.py", "test_numba_read.py", "-k", cases)


def test_decoding_on_portable_kernels() -> None:
    cases = "stored_rows or (a_stream and (grm or soup) and (titans or moneta or memora))"
    run_portable("test_numba_decode_deep.py", "-k", cases)


def run_portable(*chosen: str) -> None:
    """Some tests, in a process of their own."""
    env = {**os.environ, "MCORE_PORTABLE_KERNELS": "1"}
    command = [sys.executable, "-m", "pytest", *chosen, "-p", "no:cacheprovider"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=TESTS, check=False)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
