"""One token through a vector memory in one call; what is read and kept is as in `decode_kernels`.

The state is the rows h, c, ...; a query (1,) that is 1 asks for h.
"""

from typing import Any

from mcore.backends.numba_cpu import decode_work as at
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.decode_codes import borrowed
from mcore.backends.numba_cpu.decode_gated import gates_of
from mcore.backends.numba_cpu.decode_kernels import ask_ahead, begin, finish
from mcore.backends.numba_cpu.decode_work import (
    VectorToken,
    borrowed_memory,
    borrowed_vector_token,
    work_of,
)
from mcore.backends.numba_cpu.gru import gru_token
from mcore.backends.numba_cpu.lstm import lstm_token
from mcore.backends.numba_cpu.matvec import transposed_times
from mcore.backends.numba_cpu.slstm import slstm_token

TOKEN = len(VectorToken._fields)


@kernel
def decode_vector_kernel(tasks: Any, inputs: Any, given: Any, space: Any, y: Any) -> Any:
    """As `decode_kernel`; `inputs` are the entries of a `VectorToken`."""
    token, memory = borrowed_vector_token(inputs[:TOKEN]), borrowed_memory(given)
    rows = borrowed(tasks[0])
    heads, work, answers = y.shape[2], work_of(space, memory), borrowed(y)
    gates = gates_of(inputs[TOKEN:], memory, work)
    work.skipped[0], work.q[0] = 0, 1
    for task in range(tasks[1], tasks[2]):
        place = (rows[task // heads], task % heads)
        if task + 1 < tasks[2]:
            ask_ahead((rows[(task + 1) // heads], (task + 1) % heads), memory)
        begin(place, memory)
        _load(token, place, memory.plan[at.LAW], memory.online[place][0], work)
        _write(token, place, memory, work)
        finish(token, gates, place, memory, work, answers)
    return True


@device
def _load(token: Any, place: Any, law: int, before: Any, work: Any) -> None:
    """k, and the gates' planes before their activations."""
    b, h = place
    values = token.planes.shape[3]
    for i in range(work.k.shape[0]):
        work.k[i] = token.k[b, 0, h, i]
    sums = token.sums[b, h]
    transposed_times(token.recurrent[h], before[:values], sums)
    x, planes = token.x[b, 0, h], token.planes[b, h]
    for gate in range(sums.shape[0] // values):
        plane, first = planes[gate], gate * values
        for j in range(values):
            plane[j] = x[first + j] + sums[first + j]
    if law == at.GRU:
        inner, plane, bias = planes[3], planes[2], token.bias[h]
        for j in range(values):
            inner[j] = sums[2 * values + j] + bias[j]
            plane[j] = x[2 * values + j]


@device
def _write(token: Any, place: Any, memory: Any, work: Any) -> None:
    """Update the vectors, and leave h in `work.answer`."""
    b, h = place
    law, values = memory.plan[at.LAW], token.planes.shape[3]
    planes, state = (token.planes, b, h, 0, values), (memory.online, b, h, 0, values)
    if law == at.LSTM:
        lstm_token(planes, state)
    elif law == at.GRU:
        gru_token(planes, state)
    else:
        slstm_token(planes, state)
    first = memory.online[b, h, 0]
    for j in range(work.answer.shape[0]):
        work.answer[j] = first[j]
