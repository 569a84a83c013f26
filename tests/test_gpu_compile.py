"""Every kernel that the rules ask for compiles for the GPUs named here, without one."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from gpu_variants import Launch, decoding_launches_of, launches_of, training_launches

from mcore.backends.cupy_gpu.sources import Variant, families, source
from mcore.testing.samples import RULE_INPUTS

ARCHITECTURES = (80, 90, 100)
READOUTS = ("grm", {"kind": "ssc", "top_k": 2}, "soup", "residual", "sigmoid")
CHUNKED = {"kind": "titans", "chunk": 64}
NORMALIZED = {"kind": "linear", "feature_map": "elu1", "normalize": True}
DECODED = ("gated_delta", "mlstm", "lstm", "gru", "slstm")
SHARED = 163 << 10
"""Bytes of shared memory that a block may have on sm_80; later ones have more."""

nvcc = shutil.which("nvcc")


@cache
def asked() -> list[Launch]:
    """All that any rule with any readout launches at usual widths, and what some streams do."""
    rules = (*RULE_INPUTS, CHUNKED, NORMALIZED)
    pairs = [(rule, readout) for rule in rules for readout in READOUTS]
    streams = [(rule, readout) for rule in DECODED for readout in READOUTS]
    found = {launch for pair in pairs for launch in launches_of(*pair, width=64)}
    found |= training_launches()
    return sorted(found | {x for pair in streams for x in decoding_launches_of(*pair, width=64)})


def test_nothing_is_too_large_for_a_block() -> None:
    for launch in asked():
        assert launch.threads <= 1024 and launch.shared <= SHARED, launch


def test_every_source_is_asked_for() -> None:
    found = {launch.variant.family for launch in asked()}
    assert found == set(families())


@pytest.mark.skipif(nvcc is None, reason="nvcc is not on the PATH")
@pytest.mark.parametrize("family", families())
def test_it_compiles_without_a_warning(family: str, tmp_path: Path) -> None:
    compiled(max(x.variant for x in asked() if x.variant.family == family), tmp_path)


def compiled(variant: Variant, folder: Path) -> None:
    """Raise AssertionError unless nvcc takes a source as it is, for every architecture."""
    text = folder / f"{variant.family}.cu"
    text.write_text(source(variant.family))
    codes = ",".join(f"sm_{a}" for a in ARCHITECTURES)
    target = f"-gencode=arch=compute_{ARCHITECTURES[0]},code=[{codes}]"
    strict = ("-std=c++17", "-fatbin", "-Werror=all-warnings")
    command = [str(nvcc), *strict, target, *variant.options, "-o", str(folder / "k"), str(text)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{variant}\n{done.stderr[:4000]}"
