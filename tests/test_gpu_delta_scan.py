"""Scans of delta rules on the emulated GPU."""

import numpy as np
import pytest
from gpu_scans import (
    RAGGED,
    assert_repeats,
    check_slopes,
    example_of,
    hold_pieces,
    hold_scan,
)

from mcore.errors import BackendError

STARTS = ["independent", "checkpoint"]
CONSTANT = {"kind": "constant", "length": 4}

rules = pytest.mark.parametrize("rule", ["delta", "gated_delta"])


@rules
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("readout", ["none", "grm"])
def test_rows_of_segments_of_other_lengths(rule: str, start: str, readout: str) -> None:
    hold_scan(example_of(rule, (2, 11, 2, 3, 2), RAGGED, start, readout))


@rules
@pytest.mark.parametrize("tokens", [1, 2, 13])
def test_few_tokens(rule: str, tokens: int) -> None:
    hold_scan(example_of(rule, (1, tokens, 1, 3, 2), CONSTANT, "checkpoint"))


@rules
@pytest.mark.parametrize("start", STARTS)
def test_segments_of_several_chunks(rule: str, start: str) -> None:
    long = {"kind": "given", "lengths": [[70, 3], [33, 40]]}
    hold_scan(example_of(rule, (2, 73, 1, 5, 3), long, start, "grm"))


@rules
def test_documents_and_states(rule: str) -> None:
    example = example_of(rule, (2, 23, 2, 3, 2), CONSTANT, "checkpoint", "grm")
    document = np.repeat([[3, 4], [5, 5]], [14, 9], axis=1)
    document[1, -3:] = -1
    hold_pieces(example, [6, 17], document)
    hold_pieces(example, [6, 1, 16], None)


def test_widths_that_fill_no_tile() -> None:
    hold_scan(example_of("gated_delta", (1, 37, 2, 17, 9), {"kind": "none"}, "checkpoint"))


def test_widths_of_several_tiles() -> None:
    hold_scan(example_of("gated_delta", (1, 37, 1, 65, 64), {"kind": "none"}, "checkpoint"))


def test_keys_that_are_too_wide() -> None:
    example = example_of("delta", (1, 1, 1, 900, 1), {"kind": "none"}, "checkpoint")
    with pytest.raises(BackendError, match="keys of width 900 takes"):
        hold_scan(example)


@rules
def test_single_precision(rule: str) -> None:
    hold_scan(example_of(rule, (1, 133, 1, 16, 16), {"kind": "none"}, "checkpoint"), "float32")


@pytest.mark.parametrize("decay", [0.0, -40.0])
def test_extreme_decays(decay: float) -> None:
    example = example_of("gated_delta", (1, 66, 1, 5, 3), {"kind": "none"}, "checkpoint")
    decays = np.full(example.inputs["log_decay"].shape, decay)
    hold_scan(example, "float32", {"log_decay": decays})


@rules
def test_finite_differences(rule: str) -> None:
    check_slopes(example_of(rule, (2, 11, 1, 3, 2), RAGGED, "checkpoint"))


def test_same_bits_and_no_copies() -> None:
    for dtype, tokens in (("float64", 35), ("float32", 66)):
        example = example_of("gated_delta", (1, tokens, 1, 3, 2), {"kind": "none"}, "checkpoint")
        assert_repeats(example, dtype)
