"""Segments as long as they can be, and as short: the base rule, and attention."""

from dataclasses import replace

import numpy as np

from mcore.arrays import Array
from mcore.testing.samples import axis
from mcore.testing.theorems.about import mixes_answers, options
from mcore.testing.theorems.case import Axes, Case, ones, single
from mcore.testing.theorems.formulas import base, gates, is_plain, reads
from mcore.testing.theorems.subject import REFERENCE, Subject, forward, tolerances
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import meet


def one_segment(subject: Subject, case: Case) -> float:
    """With one segment there is one memory, of gate 1: the plain recurrence (section 4.1)."""
    plain = replace(case, axes=case.axes._replace(readout="none"), arrays=_needed(case))
    wanted = base(case) if is_plain(case) else forward(REFERENCE, plain)
    what = "y of a single segment beside the plain recurrence"
    return meet(forward(subject, case), wanted, tolerances(subject).y, what)


def _needed(case: Case) -> dict[str, Array]:
    """The inputs of the recurrence alone."""
    plain = replace(case, axes=case.axes._replace(readout="none"))
    return {name: case.inputs[name] for name in plain.declared}


def length_one_attention(subject: Subject, case: Case) -> float:
    """y_t = sum_i softmax_i(u_t . k_i / sqrt(K)) M_i(q_t), where M_i holds token i alone; for sums
    M_i(q) = (k_i . q) v_i (Eq. 18-20)."""
    case = short_enough(case)
    answers = reads(case) if is_plain(case) else _pairs(case)
    wanted = np.einsum("bths,bthsv->bthv", gates(case), answers)
    what = "y of segments of one token beside gated attention"
    return meet(forward(subject, case), wanted, tolerances(subject).y, what)


def _pairs(case: Case) -> Array:
    """(B, T, H, T, V): what the memory of token i alone answers to the query of token t."""
    B, T, H, _, V = case.sizes
    every = np.indices((B, T, T)).reshape(3, -1)
    rows, asking, written = every
    inputs = _needed(case)
    for name in filter(case.has_tokens, inputs):
        tokens = asking if name == "q" else written
        inputs[name] = inputs[name][rows, tokens][:, None]
    sizes = case.sizes._replace(B=B * T * T, T=1)
    axes = case.axes._replace(readout="none")
    alone = Case(axes, (1,), sizes, arrays=inputs)
    return forward(REFERENCE, alone).reshape(B, T, T, H, V).swapaxes(2, 3)


def hybrid(subject: Subject, case: Case) -> float:
    """A recurrence read with q = 1, and attention over its answers, is a memory cached at every
    token and read with q = 1 (section 4.1)."""
    case = short_enough(case)
    if "q" in case.inputs:
        case = case.given({"q": np.ones_like(case.inputs["q"])})
    answers = forward(subject, case.cut([case.sizes.T]))
    wanted = np.einsum("bths,bshv->bthv", gates(case), answers)
    what = "y cached at every token beside attention over the answers of one segment"
    return meet(forward(subject, case), wanted, tolerances(subject).y, what)


def short_enough(case: Case, spare: int = 1) -> Case:
    """As many segments as `ssc` reads all of, with some to spare: `ssc_grm` is about the rest."""
    chosen = axis(case.composition, "readout")
    if chosen["kind"] != "ssc":
        return case
    most = max(chosen.get("top_k", 2) + 1 - spare, 2)
    return case.first(sum(case.lengths[:most]))


def _is_attention(axes: Axes) -> str | None:
    if not mixes_answers(axes):
        return "about softmax gates over answers: grm and ssc"
    return None if axes.start == "independent" else "about start independent"


def _is_hybrid(axes: Axes) -> str | None:
    if not mixes_answers(axes):
        return "about softmax gates over answers: grm and ssc"
    if axes.start != "checkpoint":
        return "about start checkpoint"
    if options(axes.readout).get("online") == "outside":
        return "about an online memory inside the softmax"
    chunk = options(axes.recurrence).get("chunk", 1)
    return None if chunk == 1 else "about inner gradients token by token"


ONE_SEGMENT = Theorem(
    "one_segment",
    "with one segment every readout gives the plain recurrence",
    single,
    one_segment,
)
LENGTH_ONE_ATTENTION = Theorem(
    "length_one_attention",
    "with segments of one token the readout is softmax attention, each value weighed by its match",
    ones,
    length_one_attention,
    _is_attention,
)
HYBRID = Theorem(
    "hybrid",
    "cached at every token and read with q = 1, it is attention over the recurrence's own answers",
    ones,
    hybrid,
    _is_hybrid,
)
