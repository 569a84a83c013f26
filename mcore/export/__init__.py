"""Trained models and bare memories as ONNX graphs, for runtimes without Python.

builder, ops, algebra   graphs under construction: nodes, ONNX's operators, formulas
rules/, readouts/       the equations of each recurrence and readout, for one token
border, cache, slots    where a segment ends, and what then happens to the checkpoints
memory, layer           one token of a memory; a bare memory as graphs
parts/, model           one token of each part of a network; a model as graphs
program, graphs         what a graph is made of; one token, and a Scan over a sequence
metadata, facts         what a graph says of itself
"""

from mcore.export.graphs import Graphs
from mcore.export.layer import onnx_memory
from mcore.export.model import onnx_model

__all__ = ["Graphs", "onnx_memory", "onnx_model"]
