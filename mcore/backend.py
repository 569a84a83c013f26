"""What a backend must do, and how backends are found.

Every operation is a pair: `op(...) -> (output, saved)` and `op_backward(saved, gradients of the
output) -> gradients in the order of the op's differentiable arguments`. Operations never write to
their inputs, never accumulate and hold no state; `saved` is opaque, only its maker opens it.
They work at the grain of a whole sequence with its cuts (`Segments`, plain integers), so a backend
is free to run rows, heads and segments in parallel. Arrays are (B, T, H, .) throughout.

Backends register in the entry-point group `mcore.backends`, ours as well as a third party's.
"""

from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

from mcore.arrays import Array
from mcore.cache import CachePolicy, MemoryState
from mcore.errors import BackendError
from mcore.readout import Readout
from mcore.recurrence import Dims, Inputs, Recurrence
from mcore.router import Pool, Router
from mcore.segments import Segments

GROUP = "mcore.backends"

Saved = Any


class Scan(NamedTuple):
    """What `scan` returns.

    Attributes:
        reads: (B, T, H, V) answers of the online memory; a token is written before it is read.
        checkpoints: (B, S, H, P) the state at the end of each segment (also of an unfinished last
            one; zeros for empty padding segments).
    """

    reads: Array
    checkpoints: Array


class Routes(NamedTuple):
    """What `route` returns.

    Attributes:
        gates: (B, T, H, columns + 1) weights of the checkpoints, and of the online memory last;
            exactly 0 where a checkpoint may not be read or was not selected.
        contexts: (B, S, H, K) mean key, or key sum, of each segment so far (including what
            `offset` counts).
    """

    gates: Array
    contexts: Array


class Stored(NamedTuple):
    """What the memories of earlier calls left, or the gradients with respect to it.

    Attributes:
        carry: (B, H, P) the state with which first segments go on that do not restart; None if all
            restart.
        checkpoints: (B, cached, H, P).
        pool: their contexts, and the key sum of the open segment.
    """

    carry: Array | None
    checkpoints: Array
    pool: Pool


class FusedAnswer(NamedTuple):
    """What a fused layer returns.

    Attributes:
        y: (B, T, H, V).
        checkpoints, contexts: as of `Scan` and `Routes`.
    """

    y: Array
    checkpoints: Array
    contexts: Array


class FusedGradient(NamedTuple):
    """Gradients with respect to a fused layer's inputs, queries, and what was stored."""

    inputs: dict[str, Array]
    queries: Array
    stored: Stored


class Fused(Protocol):
    """Scan, routing and read of a layer in one pass, without an array over tokens x checkpoints."""

    def forward(
        self, inputs: Inputs, queries: Array, stored: Stored, segments: Segments
    ) -> tuple[FusedAnswer, Saved]:
        """What `scan`, `route` (of `queries`) and `read` give together."""

    def backward(
        self, saved: Saved, dy: Array, d_checkpoints: Array | None, d_contexts: Array | None
    ) -> FusedGradient:
        """Its gradients; those of the segments' ends are None if nobody goes on from them."""


class AnswerGates(NamedTuple):
    """What makes gates of answers: `sigmoid(o @ online + o_i @ cached + bias)`; or gradients.

    Attributes:
        online, cached: (H, V, V).
        bias: (H, V).
    """

    online: Array
    cached: Array
    bias: Array


class SigmoidGradient(NamedTuple):
    """Gradients with respect to q, online answers, checkpoints (B, C, H, P) and gates."""

    q: Array
    reads: Array
    checkpoints: Array
    gates: AnswerGates


class SigmoidRead(Protocol):
    """`y = o + sum_i g_i * o_i` with gates from the answers, over all visible columns at once."""

    def forward(
        self, q: Array, reads: Array, checkpoints: Array, gates: AnswerGates, segments: Segments
    ) -> tuple[Array, Saved]:
        """y (B, T, H, V); reads (B, T, H, V) are o, the online memory's answers."""

    def backward(self, saved: Saved, dy: Array) -> SigmoidGradient:
        """Its gradients."""


class Decoding(NamedTuple):
    """What a decoder is made for.

    Attributes:
        rule, readout, cache: of the composition.
        carries: whether a segment goes on from the memory of the one before it.
        dims: sizes of a call with one token.
        skip: checkpoints may be left out of a token's answer as long as no head's answer is then
            off by more than this, in Euclidean norm; None to read all.
    """

    rule: Recurrence
    readout: Readout
    cache: CachePolicy
    carries: bool
    dims: Dims
    skip: float | None


class Decoder(Protocol):
    """A memory that is fed token by token and changes in place.

    Attributes:
        bound: how far the last token's answer may be off in a head because checkpoints were left
            out: the largest `sum_skipped g_i |S_i| |q|`; 0 if none was.
        state: where the stream is, as `mcore.memory` knows it; a copy.
    """

    @property
    def bound(self) -> float: ...

    @property
    def state(self) -> MemoryState: ...

    def feed(self, inputs: Inputs, closes: Array | None) -> Array:
        """y (B, 1, H, V) of one token of every row.

        Args:
            inputs: as the composition declares them, not yet prepared: contiguous, of its dtype.
            closes: (B,) rows whose open segment ends after this token; None for none.

        Raises:
            InputError: `log_decay` is not finite; the memory is then as it was.
        """


@runtime_checkable
class RowDecoder(Decoder, Protocol):
    """A decoder whose rows are streams of their own: each goes on, comes and leaves by itself."""

    def feed_rows(self, rows: Array, inputs: Inputs, closes: Array) -> Array:
        """y (n, 1, H, V) of one token of the rows (n,), ascending; the others stay as they are.

        Args:
            rows: their places.
            inputs: of those rows alone, as `feed` takes them.
            closes: (n,) whose open segment ends after this token.

        Raises:
            InputError: `log_decay` is not finite; the memory is then as it was.
        """

    def take(self, row: int) -> MemoryState:
        """The state of one row, as of a batch of one; a copy."""

    def put(self, row: int, state: MemoryState) -> None:
        """Overwrite one row by the state of a batch of one."""


class Backend(Protocol):
    """The operations that `mcore.memory` and the layers are made of.

    A backend may have more, and is asked for it by name:

        dense    its own pairs of dense layers (`mcore.layers.dense.Dense`)
        adamw    norm and update of all parameters at once (`mcore.layers.engine.Engine`)
        dtypes   those of models that it runs, if not `("float32", "float64")`
        room()   bytes of its device's memory: (usable by this process, all)
    """

    name: str
    xp: ModuleType
    threads: int

    def accelerates(self) -> frozenset[tuple[str, str]]:
        """The (rule or "*", op) pairs that run in fast kernels, not in the reference."""

    def scan(
        self, rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments
    ) -> tuple[Scan, Saved]:
        """Run the recurrence over all segments.

        `inputs` are prepared inputs (after `rule.prepare`); `carry` (B, H, P) is the state with
        which first segments go on that do not restart, or None if all restart.
        """

    def scan_backward(
        self, saved: Saved, d_reads: Array, d_checkpoints: Array
    ) -> tuple[dict[str, Array], Array | None]:
        """Gradients with respect to the inputs and to `carry`."""

    def route(
        self, u: Array, keys: Array, segments: Segments, router: Router, pool: Pool
    ) -> tuple[Routes, Saved]:
        """Gates from queries `u` (B, T, H, K) and the contexts of `keys` (B, T, H, K).

        `pool.contexts` (B, cached, H, K) belong to the checkpoints of the state; `pool.keys` is
        the key sum of the open segment, over `segments.offset` tokens.
        """

    def route_backward(
        self, saved: Saved, d_gates: Array, d_contexts: Array
    ) -> tuple[Array, Array, Pool]:
        """Gradients with respect to u, keys and the pool."""

    def read(
        self,
        rule: Recurrence,
        q: Array,
        checkpoints: Array,
        gates: Array | None,
        segments: Segments,
    ) -> tuple[Array, Saved]:
        """`sum_i gates_i read(checkpoint_i, q)` over the visible columns: (B, T, H, V).

        `checkpoints` (B, C, H, P), `gates` (B, T, H, C) or None for ones.
        """

    def read_backward(self, saved: Saved, dy: Array) -> tuple[Array, Array, Array | None]:
        """Gradients with respect to q, the checkpoints and the gates (None if there were none).

        Where a gate is exactly 0 its gradient may be anything finite: a softmax multiplies it by
        the gate, and kernels that skip such pairs return 0.
        """

    def fused(self, rule: Recurrence, router: Router) -> Fused | None:
        """A routed layer of `rule` in one pass, or None: the operations above are composed then."""

    def sigmoid_read(self, rule: Recurrence) -> SigmoidRead | None:
        """The `sigmoid` readout of `rule`, or None: it is composed of reads then."""

    def soup(
        self,
        rule: Recurrence,
        inputs: Inputs,
        carry: Array | None,
        segments: Segments,
        cached: tuple[Array, Array],
    ) -> tuple[Array, Saved]:
        """`read(gate_online S_t + sum_i gates_i checkpoint_i, q_t)`: parameters are mixed first.

        `cached` is the pair (checkpoints (B, C, H, P), gates (B, T, H, C + 1)).
        """

    def soup_backward(
        self, saved: Saved, dy: Array
    ) -> tuple[dict[str, Array], Array | None, Array, Array]:
        """Gradients with respect to inputs, carry, checkpoints and gates."""

    def attention(self, q: Array, k: Array, v: Array, window: int | None) -> tuple[Array, Saved]:
        """Causal softmax attention, `softmax(q.k / sqrt(K)) v`: (B, T, H, V).

        k, v (B, M, H, .) with M >= T: the queries are the last T positions. With a window w a
        token sees itself and the w - 1 tokens before it.
        """

    def attention_backward(self, saved: Saved, dy: Array) -> tuple[Array, Array, Array]:
        """Gradients with respect to q, k and v."""

    def decoder(self, decoding: Decoding, state: MemoryState) -> Decoder | None:
        """A decoder that goes on from `state`, or None: the composition has no fast form."""


@dataclass(frozen=True)
class BackendReport:
    """What `mcore backends` prints of one backend.

    Attributes:
        name: as in a spec's `backend:`.
        available: whether it loads here.
        accelerates: the rules and ops that run in fast kernels, as words.
        missing: what is missing and how to get it; empty if nothing is.
    """

    name: str
    available: bool
    accelerates: list[str] = field(default_factory=list)
    missing: str = ""


def backend_names() -> list[str]:
    """Names of the registered backends, without loading any."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


@cache
def get_backend(
    name: str,
    threads: int | None = None,
    device: int | None = None,
    products: str | None = None,
) -> Backend:
    """Load a backend by name.

    Args:
        threads: how many it may use; None for its own choice.
        device: which GPU, of a backend that runs on one; None for the current one.
        products: how such a backend multiplies float32: exactly (`float32`, also None) or with
            inputs rounded to 10 bits (`tf32`), which is up to three times as fast.

    Raises:
        BackendError: unknown, claimed twice, or failing to load; says what would do.
    """
    found = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    if not found:
        raise BackendError(
            f"backend {name!r} is not installed; installed: {', '.join(backend_names())}"
        )
    if len({entry.value for entry in found}) > 1:
        owners = " and ".join(sorted(_owner(entry) for entry in found))
        raise BackendError(f"backend {name!r} is claimed by {owners}; uninstall one of them")
    try:
        factory = found[0].load()
        options = {"threads": threads, "device": device, "products": products}
        given = {key: x for key, x in options.items() if key == "threads" or x is not None}
        return cast(Backend, factory(**given))
    except BackendError:
        raise
    except Exception as error:
        raise BackendError(
            f"backend {name!r} ({_owner(found[0])}) failed to load: {error}"
        ) from error


def report() -> list[BackendReport]:
    """What is here, what is accelerated, and what is missing, for every known backend."""
    return [_report(name) for name in backend_names()]


def _report(name: str) -> BackendReport:
    try:
        backend = get_backend(name)
    except BackendError as error:
        return BackendReport(name, available=False, missing=str(error))
    pairs = sorted(backend.accelerates())
    words = [op if rule == "*" else f"{rule}.{op}" for rule, op in pairs]
    return BackendReport(name, available=True, accelerates=words)


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value
