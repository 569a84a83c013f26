"""`mcore.testing.verify_kernel`: good kernels pass, and a bug is named by what it breaks."""

import time

import foreign
import numpy as np
import pytest

from mcore.arrays import Array
from mcore.errors import InputError, SpecError
from mcore.testing import Effort, Exchange, Kernel, Memories, verify_kernel
from mcore.testing.agreement import relative_error
from mcore.testing.choices import EVERY_READOUT, RECURRENCES, STARTS, VARIANTS, Axis
from mcore.testing.theorems import THEOREMS
from mcore.testing.theorems.about import GATED, options
from mcore.testing.theorems.case import Axes, ragged, typical
from mcore.testing.theorems.formulas import base, gates, grm, is_plain
from mcore.testing.theorems.subject import REFERENCE, forward, want
from mcore.testing.verify import verify

QUICK = Effort(examples=4, seconds=1.0)
PLAIN = [
    rule for rule in RECURRENCES if is_plain(typical(Axes(rule, "none", STARTS[0]), ragged, 0))
]
ANY_GRM = ["grm", *(r for r in VARIANTS if options(r)["kind"] == "grm")]

NOT_FOR_GRM = {
    "inner_loss",
    "residual_checkpoint",
    "residual_linear",
    "hybrid",
    "ssc_grm",
    "soup_grm",
}


def test_a_good_kernel_passes_all_that_applies() -> None:
    report = verify_kernel(foreign.grm, foreign.grm_backward, effort=QUICK)
    assert report.ok and report.diagnosis is None
    reasons = {o.theorem.name for o in report.outcomes if o.not_applicable}
    assert reasons >= NOT_FOR_GRM
    assert all(o.tried > 0 for o in report.outcomes if not o.not_applicable)


@pytest.mark.parametrize(
    ("bug", "named"),
    [
        ("writes", "inputs_untouched"),
        ("empty", "nan_poison"),
        ("stale", "borders"),
        ("float32", "dtype"),
        ("future", "causality"),
        ("heads", "packed"),
        ("age", "permutation"),
        ("unnormalised", "gates_sum_to_one"),
        ("scale", "length_one_attention"),
        ("overflow", "scale"),
        ("sum", "agreement"),
        ("raises", "agreement"),
        ("shape", "agreement"),
    ],
)
def test_a_bug_is_named_by_the_most_telling_theorem(bug: str, named: str) -> None:
    report = verify_kernel(foreign.broken(bug), effort=Effort(examples=8, seconds=1.0))
    assert report.diagnosis is not None
    assert report.diagnosis.theorem.name == named
    assert "agreement" in [o.theorem.name for o in report.broken] or named in (
        "nan_poison", "borders", "scale",
    )  # fmt: skip


def test_a_wrong_backward_breaks_gradients_alone() -> None:
    def backward(inputs: foreign.Inputs, lengths: list[int], dy: Array) -> foreign.Inputs:
        return foreign.grm_backward(inputs, lengths, dy, bug="softmax")

    report = verify_kernel(foreign.grm, backward, effort=QUICK)
    assert [outcome.theorem.name for outcome in report.broken] == ["gradients"]
    assert "gradient of" in str(report.broken[0].violation)


def test_a_counterexample_is_small_and_plain() -> None:
    kernel = Kernel(foreign.broken("future"))
    outcome = verify(kernel, Effort(examples=30, seconds=4.0), ["causality"])["causality"]
    assert outcome.case is not None
    assert outcome.case.lengths == (2, 2)
    assert outcome.case.sizes == (1, 4, 1, 1, 1)
    assert np.array_equal(outcome.case.inputs["v"], np.ones((1, 4, 1, 1)))


def test_layout_bhtd() -> None:
    def swap(x: Array) -> Array:
        return np.swapaxes(x, 1, 2)

    def turned(inputs: foreign.Inputs, lengths: list[int]) -> Array:
        return swap(foreign.grm({name: swap(x) for name, x in inputs.items()}, lengths))

    effort, names = Effort(examples=5), ["agreement", "packed", "scale"]
    assert verify(Kernel(turned, exchange=Exchange(layout="BHTD")), effort, names).ok
    assert not verify(Kernel(turned), effort, names).ok


def test_float32() -> None:
    kernel = Kernel(foreign.grm, foreign.grm_backward, exchange=Exchange(dtype="float32"))
    report = verify(kernel, Effort(examples=5), ["agreement", "gradients", "dtype", "scale"])
    assert report.ok and report["agreement"].worst > 1e-12


def test_a_kernel_without_end_is_a_finding() -> None:
    def endless(inputs: foreign.Inputs, lengths: list[int]) -> Array:
        while True:
            time.sleep(0.01)

    kernel = Kernel(endless)
    kernel.limit = 0.2
    report = verify(kernel, QUICK, ["causality", "agreement"])
    assert report.diagnosis is not None and report.diagnosis.theorem.name == "agreement"
    assert str(report.diagnosis.violation) == "forward did not end within 0.2 s"


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (lambda y: y * np.nan, "y: 96 of 96 not finite"),
        (lambda y: None, "y: None was returned"),
        (lambda y: y.astype("U8"), "y: holds <U8"),
        (lambda y: y[..., 0], r"y: shape (2, 6, 2), expected (B T H V)"),
    ],
)
def test_what_is_no_answer_is_a_finding(returned: object, told: str) -> None:
    def kernel(inputs: foreign.Inputs, lengths: list[int]) -> Array:
        answer: Array = returned(foreign.grm(inputs, lengths))  # type: ignore[operator]
        return answer

    case = typical(Axes("linear", "grm", "independent"), ragged, 0).first(6)
    subject = Kernel(kernel)
    with pytest.raises(AssertionError) as raised:
        forward(subject, case)
    assert str(raised.value).startswith(told)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("readout", ANY_GRM, ids=str)
@pytest.mark.parametrize("rule", PLAIN, ids=str)
def test_formulas_are_those_of_the_reference(rule: Axis, readout: Axis, start: str) -> None:
    case = typical(Axes(rule, readout, start), ragged, 3)
    assert relative_error(grm(case), want(case)) < 1e-12
    assert gates(case).shape == (2, 10, 2, 4)
    whole = case.cut([case.sizes.T])
    if options(readout).get("online") != "outside":
        assert relative_error(base(case), want(whole)) < 1e-12


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_theorems_hold_for_memories(backend: str) -> None:
    axes = (
        Axes("linear", "residual", "checkpoint"),
        Axes("gated_delta", {"kind": "ssc", "top_k": 2}, "independent"),
    )
    for one in axes:
        report = verify(Memories(backend, "float64", (one,)), Effort(examples=2, seconds=1.0))
        assert report.ok, [str(o.violation) for o in report.broken]


def test_every_theorem_applies_to_some_composition() -> None:
    every = [
        Axes(rule, readout, start)
        for rule in RECURRENCES
        for readout in (*EVERY_READOUT, *VARIANTS)
        for start in STARTS
    ]
    for theorem in THEOREMS.values():
        assert any(theorem.applies(axes) is None for axes in every)
    assert set(GATED) == {"grm", "soup", "ssc"}
    assert not REFERENCE.lacks


def test_json_is_plain() -> None:
    report = verify(Kernel(foreign.broken("future")), QUICK, ["causality", "hybrid"])
    assert "causality  BROKEN" in str(report) and "the smallest case found" in str(report)
    found = report.to_json()
    assert found["ok"] is False and found["diagnosis"] == "causality"
    broken, apart = found["theorems"]
    assert broken["counterexample"]["lengths"] and broken["what"].startswith("y before token")
    assert apart == {
        "name": "hybrid",
        "sentence": THEOREMS["hybrid"].sentence,
        "verdict": "not applicable",
        "why": "it is about start checkpoint",
    }


def test_wrong_arguments() -> None:
    with pytest.raises(SpecError, match="kind 'grn' is unknown"):
        Kernel(foreign.grm, readout="grn")
    with pytest.raises(SpecError, match="start: 'later' is unknown"):
        Kernel(foreign.grm, start="later")
    with pytest.raises(InputError, match="layout: 'TBHD' is unknown"):
        Exchange(layout="TBHD")
    with pytest.raises(InputError, match="theorem 'causal' is unknown"):
        verify(Kernel(foreign.grm), QUICK, ["causal"])
