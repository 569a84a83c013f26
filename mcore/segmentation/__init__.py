"""Where a sequence is cut into segments: integers only (Behrouz et al. 2026, sections 3.1 and 4.2).

At the end of each segment the memory's state is kept as a checkpoint, so the lengths chosen here
are the dial between a recurrent network (one segment) and attention (one token a segment).
"""

from mcore.segmentation.adaptive import Adaptive
from mcore.segmentation.base import FOREVER, Segmentation
from mcore.segmentation.given import Given
from mcore.segmentation.regular import Constant, Logarithmic, NoSegmentation

SEGMENTATIONS: dict[str, type[Segmentation]] = {
    segmentation.kind: segmentation
    for segmentation in (NoSegmentation, Constant, Logarithmic, Adaptive, Given)
}

__all__ = [
    "FOREVER",
    "SEGMENTATIONS",
    "Adaptive",
    "Constant",
    "Given",
    "Logarithmic",
    "NoSegmentation",
    "Segmentation",
]
