"""A whole routed memory layer backwards: segments and their chunks from the last."""

from typing import Any

from mcore.backends.numba_cpu.blocks import (
    add,
    clear,
    copy,
    copy_vector,
    load_rows,
    store_rows,
)
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.chunk import chunk_write
from mcore.backends.numba_cpu.delta import correct
from mcore.backends.numba_cpu.fused_chunk_backward import (
    gates_backward,
    online_backward,
    read_backward,
    regate,
)
from mcore.backends.numba_cpu.fused_pool import divisor, pool_keys, start_pool
from mcore.backends.numba_cpu.fused_quotient import load_normalizers, store_normalizers
from mcore.backends.numba_cpu.fused_start import APART, start_column
from mcore.backends.numba_cpu.prefetch import prefetch_rows
from mcore.backends.numba_cpu.scan_backward_kernels import store_chunk
from mcore.backends.numba_cpu.scan_work import load_chunk, segment_start


@kernel
def layer_backward_kernel(span: Any, x: Any, work: Any, given: Any, out: Any) -> None:
    """Gradients for the tasks (row, head) in `span`.

    given = (`LayerOutputs`, dy, d_states, d_contexts), the last two of the segments' ends, or with
    no elements.
    """
    ends, heads = given[0], x.u.shape[2]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        load_contexts(x, ends.contexts, (b, h), work.gates.contexts)
        load_normalizers(x, b, h, work.gates)
        clear(work.d_normalizers)
        clear(work.d_contexts)
        for column in range(work.d_states.shape[0]):
            clear(work.d_states[column])
        clear(work.scan.d_state)
        for s in range(x.first.shape[1] - 1, -1, -1):
            if x.scan.bounds[b, s] < x.scan.bounds[b, s + 1]:
                _segment_backward(x, (b, h, s), work, given, out)
        stock_gradients(x, (b, h), work, out)


@device
def stock_gradients(x: Any, place: Any, work: Any, out: Any) -> None:
    """Gradients of what came in with the state; place = (b, h)."""
    b, h = place
    if x.scan.carry.size:
        copy(work.scan.d_state, out.scan.carry[b, h])
    if not x.detach:
        cached = x.stock.states.shape[1]
        if x.given:
            for column in range(cached, work.d_states.shape[0]):
                copy(work.d_states[column], out.states[b, column - cached, h])
        store_normalizers(x, place, work, out)
        copy(work.d_contexts[:cached], out.stock.contexts[b, :, h])
        for column in range(cached):
            copy(work.d_states[column], out.stock.states[b, column, h])


@device
def load_contexts(x: Any, ends: Any, place: Any, contexts: Any) -> None:
    """All contexts of a row and head, those of the state first; place = (b, h)."""
    b, h = place
    cached = x.stock.contexts.shape[1]
    copy(x.stock.contexts[b, :, h], contexts)
    for column in range(cached, contexts.shape[0]):
        copy_vector(ends[b, column - cached, h], contexts[column])


@device
def _segment_backward(x: Any, place: Any, work: Any, given: Any, out: Any) -> None:
    """The chunks of segment `place` = (b, h, s); `d_state` goes from its end to its start."""
    b, h, s = place
    ends, dy, _, _ = given
    first, last, rows = x.scan.bounds[b, s], x.scan.bounds[b, s + 1], work.du.shape[0]
    scan = work.scan
    fresh = True
    if not x.given:
        fresh = segment_start(x.scan, ends.states, place, scan.states[0])
    count, column = replay(x, place, fresh, work), start_column(x, place)
    end_gradients(x, place, count + last - first, work, given)
    for i in range((last - first - 1) // rows, -1, -1):
        begin = first + i * rows
        tokens = (b, h, begin, min(rows, last - begin))
        ask_ahead(x, tokens, dy, out)
        reload(x, tokens, (i, begin + rows >= last), scan)
        load_rows(dy, tokens, scan.dy)
        merged = column if i == 0 else APART
        regate(x, (s, tokens), ends, work)
        read_backward(x, place, ends.states, merged, work)
        whole = online_backward(x, i, (fresh and i == 0, merged), work)
        gates_backward(x, place, (i, tokens[3], count + begin - first), work, out)
        store_chunk(scan.out, whole, out.scan, tokens)
        store_rows(work.du, out.u, tokens)
    if fresh:
        clear(scan.d_state)
    if s == 0:
        copy_vector(work.d_sums, out.stock.keys[b, h])


@device
def ask_ahead(x: Any, tokens: Any, dy: Any, out: Any) -> None:
    """Ask for what the chunk before this one reads, and for where this one's gradients go."""
    b, h, begin, n = tokens
    before = (b, h, begin - n, n)
    for source in (x.scan.q, x.scan.k, x.scan.v, x.u, dy):
        prefetch_rows(source, before)
    for target in (out.scan.q, out.scan.k, out.scan.v, out.u):
        prefetch_rows(target, tokens)


@device
def reload(x: Any, tokens: Any, chunk: Any, scan: Any) -> None:
    """Chunk i of a segment as it was written; a delta rule's replay ended with the last one."""
    i, last = chunk
    corrects = x.scan.beta.size > 0
    if corrects and last:
        return
    load_chunk(x.scan, tokens, scan.chunk, scan.scratch)
    if corrects:
        copy(scan.written[i], scan.chunk.v)


@device
def replay(x: Any, place: Any, fresh: bool, work: Any) -> int:
    """Fill `states`, `written`, `errors` and `pools`; returns the tokens before the segment."""
    b, h, s = place
    first, last, rows = x.scan.bounds[b, s], x.scan.bounds[b, s + 1], work.du.shape[0]
    scan, sums, corrects = work.scan, work.gates.sums, x.scan.beta.size > 0
    count = start_pool(x, place, sums)
    for begin in range(first, last, rows):
        i = (begin - first) // rows
        copy_vector(sums, work.pools[i])
        if begin + rows >= last and not corrects:
            break
        load_chunk(x.scan, (b, h, begin, min(rows, last - begin)), scan.chunk, scan.scratch)
        pool_keys(scan.chunk.k, min(rows, last - begin), sums)
        if corrects:
            first_of_all = fresh and i == 0
            correct(scan.chunk, scan.states[i], first_of_all, scan.scratch, scan.errors[i])
            copy(scan.chunk.v, scan.written[i])
        if begin + rows < last and not x.given:
            copy(scan.states[i], scan.states[i + 1])
            chunk_write(scan.chunk, scan.states[i + 1], scan.scratch)
    return count


@device
def end_gradients(x: Any, place: Any, count: int, work: Any, given: Any) -> None:
    """Gradients of the memory and of the key sum at the end of a segment of `count` tokens."""
    b, h, s = place
    _, _, d_states, d_contexts = given
    column = x.stock.states.shape[1] + s
    read = column < work.d_states.shape[0] and not x.detach
    if d_states.size:
        add(d_states[b, s, h], work.scan.d_state)
    if read and not x.given:
        add(work.d_states[column], work.scan.d_state)
    for j in range(work.d_sums.shape[0]):
        total = d_contexts[b, s, h, j] if d_contexts.size else x.u.dtype.type(0)
        if read:
            total += work.d_contexts[column, j]
        work.d_sums[j] = total / divisor(x, count)
