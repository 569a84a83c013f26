"""The spec as frozen pydantic models: one class per section, one per choice on an axis."""

from mcore.spec.schema.backend import BackendSpec, installed_backends
from mcore.spec.schema.base import Finding, KeyPath, Section
from mcore.spec.schema.data import DataSpec, MqarSpec, TextSpec
from mcore.spec.schema.memory import MemoryOverride, MemorySpec
from mcore.spec.schema.model import BlockSpec, ModelSpec
from mcore.spec.schema.readout import Grm, MovingAverage, NoReadout, Readout, Residual, Soup, Ssc
from mcore.spec.schema.recurrence import Recurrence
from mcore.spec.schema.segmentation import (
    Adaptive,
    Constant,
    Given,
    Logarithmic,
    NoSegmentation,
    Segmentation,
)
from mcore.spec.schema.series import SeriesSpec
from mcore.spec.schema.spec import Spec
from mcore.spec.schema.train import OptimizerSpec, TrainSpec

__all__ = [
    "Adaptive",
    "BackendSpec",
    "BlockSpec",
    "Constant",
    "DataSpec",
    "Finding",
    "Given",
    "Grm",
    "KeyPath",
    "Logarithmic",
    "MemoryOverride",
    "MemorySpec",
    "ModelSpec",
    "MovingAverage",
    "MqarSpec",
    "NoReadout",
    "NoSegmentation",
    "OptimizerSpec",
    "Readout",
    "Recurrence",
    "Residual",
    "Section",
    "Segmentation",
    "SeriesSpec",
    "Soup",
    "Spec",
    "Ssc",
    "TextSpec",
    "TrainSpec",
    "installed_backends",
]
