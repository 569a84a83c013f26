"""`scan` of a matrix LSTM on the GPU: a decayed memory whose gates come from a running maximum.

Its normaliser is one more column of values, all ones; `cuda/mlstm_scan.cu` does what is around the
scan of the decayed memory.
"""

from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.cupy_gpu import decayed_scan
from mcore.backends.cupy_gpu.cuts import Cuts, cuts_on
from mcore.backends.cupy_gpu.decayed_scan import Tokens
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.matrix_layout import THREADS, Layout, layout, state_type
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.backends.cupy_gpu.sources import Variant
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Segments


class Online(NamedTuple):
    """The online memory's undivided answers, and what made them.

    Attributes:
        x: q, k, v, and the gates in the type of states; fgate is a logarithm.
        carry: (B, H, P) the state that came in, or None.
        write, largest: (B, T, H) strength of what is written, and m.
        answers: (B, T, H, V + 1) numerators, and their denominator behind them.
        scan: the decayed scan's own.
        cuts: on the device.
        dtypes: of the gates as they came.
    """

    x: dict[str, Array]
    carry: Array | None
    write: Array
    largest: Array
    answers: Array
    scan: decayed_scan.Saved
    cuts: Cuts
    dtypes: tuple[Any, Any]

    @property
    def layout(self) -> Layout:
        """Of the decayed scan: its V is that of the memory and one."""
        return self.scan.layout

    @property
    def widths(self) -> tuple[int, int]:
        """K and V of the memory."""
        return self.layout.shape.keys, self.layout.shape.values - 1


class Around(NamedTuple):
    """Gradients from outside the scan: those of answers and m (B, T, H), and of ends or None."""

    answers: Array
    largest: Array
    ends: Array | None


def scan(
    device: Device, rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments
) -> tuple[Scan, Online]:
    """See `mcore.backend.Backend.scan`."""
    online, ends = answered(device, inputs, carry, segments)
    y = device.xp.empty_like(online.x["v"])
    arrays = (online.answers, None, None, online.largest, y, online.widths[1])
    run_tokens(online.layout, "mlstm_scan.mlstm_divide", arrays)
    return Scan(y, ends), online


def scan_backward(
    device: Device, online: Online, d_reads: Array, d_checkpoints: Array
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    xp = device.xp
    dy = xp.ascontiguousarray(d_reads, online.x["v"].dtype)
    d_answers, d_largest = xp.empty_like(online.answers), xp.empty_like(online.largest)
    arrays = (online.answers, None, None, online.largest, dy, d_answers, None, None, d_largest)
    run_tokens(online.layout, "mlstm_scan.mlstm_divide_backward", (*arrays, online.widths[1]))
    d_ends = xp.ascontiguousarray(d_checkpoints, online.layout.real)
    return answered_backward(online, Around(d_answers, d_largest, d_ends))


def answered(
    device: Device, inputs: Inputs, carry: Array | None, segments: Segments
) -> tuple[Online, Array]:
    """Undivided answers of the online memory, and checkpoints (B, S, H, P)."""
    xp, token = device.xp, inputs["q"].dtype
    real, gates = state_type(token), ("igate", "fgate")
    x = {name: xp.ascontiguousarray(inputs[name], token) for name in ("q", "k", "v")}
    x |= {name: xp.ascontiguousarray(inputs[name], real) for name in gates}
    values = x["v"].shape[-1]
    laid, cuts = layout(device, x["q"], values + 1, segments), cuts_on(device, segments)
    carry = None if carry is None else xp.ascontiguousarray(carry, real)
    B, T, H, K, _, S = laid.shape
    forget, write, largest = (laid.empty(B, T, H) for _ in range(3))
    ends = xp.zeros((B, S, H, (K + 1) * (values + 1)), real)
    run_runs(
        laid,
        cuts,
        "mlstm_scan.mlstm_maxima",
        (*(x[n] for n in gates), carry, forget, write, largest, ends),
    )
    key, value = xp.empty_like(x["k"]), xp.empty((B, T, H, values + 1), token)
    run_tokens(laid, "mlstm_scan.mlstm_written", (x["k"], x["v"], write, key, value, K, values))
    body = None if carry is None else _body(laid, carry)
    found, saved = decayed_scan.scan(laid, Tokens(x["q"], key, value, forget, None), body)
    ends[..., : K * (values + 1)] = found.checkpoints
    dtypes = inputs["igate"].dtype, inputs["fgate"].dtype
    return Online(x, carry, write, largest, found.reads, saved, cuts, dtypes), ends


def answered_backward(online: Online, d: Around) -> tuple[dict[str, Array], Array | None]:
    """Gradients of the inputs and of the state that came in."""
    x, laid = online.x, online.layout
    xp, (K, V) = laid.device.xp, online.widths
    d_bodies = laid.zeros(laid.shape.segments) if d.ends is None else _body(laid, d.ends)
    tokens, d_body = decayed_scan.scan_backward(online.scan, d.answers, d_bodies)
    dk, dv, d_write = xp.empty_like(x["k"]), xp.empty_like(x["v"]), xp.empty_like(online.write)
    arrays = (x["k"], online.write, tokens.k, tokens.v, dk, dv, d_write, K, V)
    run_tokens(laid, "mlstm_scan.mlstm_written_backward", arrays)
    d_carry = None
    if online.carry is not None:
        d_carry = xp.zeros_like(online.carry)
        d_carry[..., : K * (V + 1)] = d_body
    d_gates = xp.empty_like(x["igate"]), xp.empty_like(x["fgate"])
    given = (x["igate"], x["fgate"], online.carry, online.largest)
    gradients = (tokens.log_decay, d_write, d.largest, d.ends, *d_gates, d_carry)
    run_runs(laid, online.cuts, "mlstm_scan.mlstm_maxima_backward", (*given, *gradients))
    pairs = zip(("igate", "fgate"), d_gates, online.dtypes, strict=True)
    named = {name: gate.astype(dtype, copy=False) for name, gate, dtype in pairs}
    return {"q": tokens.q, "k": dk, "v": dv, **named}, d_carry


def run_tokens(laid: Layout, name: str, values: tuple[Any, ...]) -> None:
    """`family.kernel`, with a warp for each token and head."""
    B, T, H = laid.shape[:3]
    _run(laid, name, (*values, B * T * H))


def run_runs(laid: Layout, cuts: Cuts, name: str, values: tuple[Any, ...]) -> None:
    """`family.kernel`, with a warp for each run and head."""
    B, T, H, K, V, S = laid.shape
    _run(
        laid, name, (*values, cuts.bounds, cuts.restart, cuts.segment, T, H, K, V - 1, S, B * S * H)
    )


def _run(laid: Layout, name: str, values: tuple[Any, ...]) -> None:
    """`family.kernel`; the last of `values` is the number of warps."""
    family, kernel_name = name.split(".")
    kernel = laid.device.kernel(Variant(family, laid.real, laid.token), kernel_name)
    kernel((-(-values[-1] * 32 // THREADS),), (THREADS,), values, 0)


def _body(laid: Layout, states: Array) -> Array:
    """C and n alone: (..., P) to (..., K (V + 1))."""
    body: Array = laid.device.xp.ascontiguousarray(
        states[..., : laid.shape.keys * laid.shape.values]
    )
    return body


MLSTM_SCAN = Pair(scan, scan_backward)
