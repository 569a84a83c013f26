"""Products of the rows' vectors with U and U^T, whose columns are packed into narrow panels.

A panel lies in memory as it is read, row after row; U itself would be read with a stride that maps
all of a panel to few places of the nearest cache.
"""

from typing import Any

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.gemm import FULL, gemm, transpose


@device
def pack(recurrent: Any, panels: Any) -> None:
    """U (V, N), gate by gate, as panels (., V, columns); a gate's last one may be part empty."""
    width, wide = panels.shape[1], panels.shape[2]
    each = -(-width // wide)
    for i in range(panels.shape[0]):
        begin = i % each * wide
        source = recurrent[:, i // each * width + begin :]
        for k in range(width):
            for j in range(min(wide, width - begin)):
                panels[i, k, j] = source[k, j]


@device
def pack_transposed(recurrent: Any, panels: Any) -> None:
    """U^T (N, V) as panels (., N, columns); the last one may be part empty."""
    width, wide = recurrent.shape[0], panels.shape[2]
    for i in range(panels.shape[0]):
        transpose(recurrent[i * wide : min(width, (i + 1) * wide)], panels[i])


@device
def add_gate(h: Any, panels: Any, gate: int, out: Any) -> None:
    """`out += h U_gate`; h, out (rows, V)."""
    width, wide = h.shape[1], panels.shape[2]
    each = -(-width // wide)
    for i in range(each):
        begin, end = i * wide, min(width, (i + 1) * wide)
        gemm(h, panels[gate * each + i, :, : end - begin], out[:, begin:end], 1.0, 1, FULL)


@device
def back_through(planes: Any, gates: int, panels: Any, d_h: Any, add: int) -> None:
    """`d_h (+)= sum over gates of d_gate U_gate^T`; planes (., rows, V), d_h (rows, V)."""
    width, wide = d_h.shape[1], panels.shape[2]
    for i in range(panels.shape[0]):
        begin, end = i * wide, min(width, (i + 1) * wide)
        for g in range(gates):
            rows = panels[i, g * width : (g + 1) * width, : end - begin]
            gemm(planes[g], rows, d_h[:, begin:end], 1.0, 1 if g else add, FULL)
