"""Scans of additive matrix memories on the emulated GPU."""

from typing import Any

import numpy as np
import pytest
from gpu_scans import (
    RAGGED,
    assert_repeats,
    check_slopes,
    example_of,
    hold_answer,
    hold_pieces,
    hold_scan,
)

ELU1 = {"kind": "linear", "feature_map": "elu1", "normalize": True}
RULES: list[Any] = ["linear", ELU1, "retention", "gated_linear", "mamba2", "swla"]
STARTS = ["independent", "checkpoint"]
CONSTANT = {"kind": "constant", "length": 4}

rules = pytest.mark.parametrize("rule", RULES, ids=str)


@rules
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("readout", ["none", "grm"])
def test_rows_of_segments_of_other_lengths(rule: Any, start: str, readout: str) -> None:
    hold_scan(example_of(rule, (2, 11, 2, 3, 2), RAGGED, start, readout))


@rules
@pytest.mark.parametrize("tokens", [1, 2, 13])
def test_few_tokens(rule: Any, tokens: int) -> None:
    example = example_of(rule, (1, tokens, 1, 3, 2), CONSTANT, "checkpoint")
    if rule is ELU1 and tokens == 1:
        hold_answer(example)  # the gradient of q cancels: only rounding is left of it
    else:
        hold_scan(example)


@rules
@pytest.mark.parametrize("start", STARTS)
def test_segments_of_several_chunks(rule: Any, start: str) -> None:
    long = {"kind": "given", "lengths": [[70, 3], [33, 40]]}
    hold_scan(example_of(rule, (2, 73, 1, 5, 3), long, start, "grm"))


@rules
def test_documents_and_states(rule: Any) -> None:
    example = example_of(rule, (2, 23, 2, 3, 2), CONSTANT, "checkpoint", "grm")
    document = np.repeat([[3, 4], [5, 5]], [14, 9], axis=1)
    document[1, -3:] = -1
    hold_pieces(example, [6, 17], document)
    hold_pieces(example, [6, 1, 16], None)


@pytest.mark.parametrize("rule", ["gated_linear", "swla"])
def test_widths_that_fill_no_tile(rule: str) -> None:
    hold_scan(example_of(rule, (1, 19, 2, 17, 9), CONSTANT, "checkpoint"))


def test_widths_of_several_tiles() -> None:
    wide = {"kind": "linear", "feature_map": "elu1", "normalize": True}
    hold_scan(example_of(wide, (1, 19, 1, 64, 64), {"kind": "none"}, "checkpoint"))
    hold_scan(example_of("gated_linear", (1, 19, 1, 65, 64), {"kind": "none"}, "checkpoint"))


@pytest.mark.parametrize("rule", [ELU1, "gated_linear", "swla"], ids=str)
def test_single_precision(rule: Any) -> None:
    hold_scan(example_of(rule, (1, 133, 1, 16, 16), {"kind": "none"}, "checkpoint"), "float32")


@pytest.mark.parametrize("decay", [0.0, -40.0, "jumps"])
@pytest.mark.parametrize("rule", ["gated_linear", "swla"])
def test_extreme_decays(rule: str, decay: Any) -> None:
    example = example_of(rule, (1, 66, 1, 5, 3), {"kind": "none"}, "checkpoint")
    shape = example.inputs["log_decay"].shape
    decays = np.full(shape, -40.0) if decay == "jumps" else np.full(shape, decay)
    if decay == "jumps":
        decays[:, ::3] = 0.0
    hold_scan(example, "float32", {"log_decay": decays})


@pytest.mark.parametrize("rule", [ELU1, "gated_linear", "swla"], ids=str)
def test_finite_differences(rule: Any) -> None:
    check_slopes(example_of(rule, (2, 11, 1, 3, 2), RAGGED, "checkpoint"))


@pytest.mark.parametrize("rule", [ELU1, "gated_linear", "swla"], ids=str)
def test_same_bits_and_no_copies(rule: Any) -> None:
    assert_repeats(example_of(rule, (2, 35, 1, 3, 2), {"kind": "none"}, "checkpoint"), "float64")
    assert_repeats(example_of(rule, (1, 66, 1, 3, 2), {"kind": "none"}, "checkpoint"), "float32")
