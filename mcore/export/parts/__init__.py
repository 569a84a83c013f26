"""The parts of a network as graphs: one file per part, each for one token.

block        mlp, and norm and residual       parallel        several mixers side by side
memory       a memory as token mixer          attention       softmax attention with a bound
projection   x -> q, k, v, u, gates           vectors, gates, derived   how each input is made
finish       norm, gate, skip after a memory  ends            tokens in, logits out
series_ends  channels in, forecasts, classes or values out
"""

from mcore.export.parts.attention import AttentionForm
from mcore.export.parts.base import Around, Limits, PartForm
from mcore.export.parts.block import MlpForm, ResidualForm
from mcore.export.parts.memory import MixerForm
from mcore.export.parts.parallel import ParallelForm
from mcore.export.parts.registry import PARTS, part_form

PARTS |= {
    "Mlp": MlpForm,
    "MemoryMixer": MixerForm,
    "AttentionMixer": AttentionForm,
    "Parallel": ParallelForm,
}

__all__ = ["PARTS", "Around", "Limits", "PartForm", "ResidualForm", "part_form"]
