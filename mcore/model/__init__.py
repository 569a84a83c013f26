"""The network around the memories.

part             what parts have in common        sizes            widths and switches
projection       x -> q, k, v, u, gates           memory_mixer     a memory as token mixer
wiring           what a projection is made of     starts           its starting values
columns, slot    x W, and who gets which part     features, gate   one vector input, one gate
derived          inputs made of other inputs      finish           norm, gate, skip after a memory
attention_mixer  softmax attention                parallel         several mixers side by side
block            mlp, norm and residual           cost             FLOPs and bytes of a memory
ends             what stands around the blocks:   token_ends, series_ends, series_heads
layout           parts and ends                   statistics       of the training data of series
network          embedding, blocks, head: `Model`
"""

from mcore.model.layout import Layout
from mcore.model.network import Model

__all__ = ["Layout", "Model"]
