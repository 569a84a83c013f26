"""The network around the memories.

part             what parts have in common        sizes            widths and switches
projection       x -> q, k, v, u, gates           memory_mixer     a memory as token mixer
wiring           what a projection is made of     starts           its starting values
columns, slot    x W, and who gets which part     features, gate   one vector input, one gate
derived          inputs made of other inputs      finish           norm, gate, skip after a memory
attention_mixer  softmax attention                parallel         several mixers side by side
block            mlp, norm and residual           cost             FLOPs and bytes of a memory
network          embedding, blocks, head: `Model`
"""

from mcore.model.network import Layout, Model

__all__ = ["Layout", "Model"]
