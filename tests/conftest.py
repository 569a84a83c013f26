"""Shared by all tests: one BLAS thread, Hypothesis profiles, the folder of tests on the path.

HYPOTHESIS_PROFILE chooses dev (20 examples, the default), ci (100, derandomised) or nightly (2000).
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("dev", max_examples=20, deadline=None)
settings.register_profile(
    "ci",
    max_examples=100,
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "nightly", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`cupy` is a backend that runs here, emulated on the CPU."""
    from mcore.backend import get_backend

    monkeypatch.setenv("MCORE_EMULATED_GPU", "1")
    get_backend.cache_clear()
    yield
    get_backend.cache_clear()
