"""Which kernels run which rule: a line for each."""

from mcore.backends.cupy_gpu import matrix_scan, swla
from mcore.backends.cupy_gpu.anatomy import PLAIN
from mcore.backends.cupy_gpu.channel_scan import CHANNEL_SCAN
from mcore.backends.cupy_gpu.deep import DEEP_SCAN
from mcore.backends.cupy_gpu.deep_read import DEEP_READ
from mcore.backends.cupy_gpu.deep_soup import DEEP_SOUP
from mcore.backends.cupy_gpu.mlstm_read import MLSTM_READ, MLSTM_SOUP
from mcore.backends.cupy_gpu.mlstm_scan import MLSTM_SCAN
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.backends.cupy_gpu.read import READ
from mcore.backends.cupy_gpu.rwkv7_scan import RWKV7_SCAN
from mcore.backends.cupy_gpu.soup import normalized_soup
from mcore.backends.cupy_gpu.vector_read import VECTOR_READ
from mcore.backends.cupy_gpu.vector_scan import VECTOR_SCAN

MATRICES = ("linear", "retention", "gated_linear", "mamba2", "delta", "gated_delta")
VECTORS = ("lstm", "gru", "slstm")
PERCEPTRONS = ("dla", "titans", "yaad", "moneta", "memora")

SCANS: dict[str, Pair] = {
    **dict.fromkeys(MATRICES, matrix_scan.SCAN),
    **dict.fromkeys(VECTORS, VECTOR_SCAN),
    **dict.fromkeys(PERCEPTRONS, DEEP_SCAN),
    "gla": CHANNEL_SCAN,
    "mlstm": MLSTM_SCAN,
    "rwkv7": RWKV7_SCAN,
    "swla": swla.SCAN,
}
"""By rule."""

READS: dict[str, Pair] = {
    **dict.fromkeys((*sorted(PLAIN), "swla"), READ),
    **dict.fromkeys(VECTORS, VECTOR_READ),
    **dict.fromkeys(PERCEPTRONS, DEEP_READ),
    "mlstm": MLSTM_READ,
}
"""By rule."""

SOUPS: dict[str, Pair] = {
    **dict.fromkeys(PERCEPTRONS, DEEP_SOUP),
    "linear": normalized_soup(SCANS["linear"]),
    "mlstm": MLSTM_SOUP,
}
"""By rule; soup of memories whose reads are linear is a read, and never asked for."""
