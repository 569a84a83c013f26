"""What `mcore verify` is pointed at: backends, a spec, or a kernel."""

from dataclasses import dataclass
from typing import NamedTuple

from mcore.backend import report
from mcore.errors import BackendError, InputError
from mcore.testing.claims import parse_claim
from mcore.testing.loading import load_function
from mcore.testing.theorems.case import Axes
from mcore.testing.theorems.exchange import Exchange
from mcore.testing.theorems.kernel import Kernel
from mcore.testing.theorems.outcome import Outcome
from mcore.testing.theorems.search import Effort
from mcore.testing.theorems.subject import Memories, Subject
from mcore.testing.theorems.words import claim
from mcore.testing.verify import every_axes


class Asked(NamedTuple):
    """What the command line names: a spec's path, a backend, a kernel's functions and claim."""

    spec: str | None = None
    backend: str | None = None
    forward: str | None = None
    backward: str | None = None
    claim: str | None = None


@dataclass(frozen=True)
class Target:
    """A subject, what it is in words, and how hard to look at it.

    Attributes:
        code: Python that makes the subject; `{axes}` stands for the composition of a case.
        usual: the effort unless another is asked for.
    """

    subject: Subject
    what: str
    code: str
    usual: Effort

    def effort(self, examples: int | None, seed: int) -> Effort:
        """With so many cases, if a number is given, and with time for them."""
        if examples is None:
            return Effort(self.usual.examples, seed, self.usual.seconds)
        factor = max(1.0, examples / self.usual.examples)
        return Effort(examples, seed, self.usual.seconds * factor)

    def made(self, outcome: Outcome) -> str:
        """Python that makes the subject for a counterexample."""
        assert outcome.case is not None
        return self.code.replace("{axes}", repr(tuple(outcome.case.axes)))


def targets(asked: Asked, exchange: Exchange) -> list[Target]:
    """The subjects that a command line names; by default all backends that run here.

    Raises:
        InputError: options that contradict each other, a function that is not there.
        SpecError: a claim or a spec that is wrong.
        BackendError: a backend that is not installed.
    """
    if asked.forward:
        if asked.spec or asked.backend:
            raise InputError("--forward: names a kernel; leave out FILE and --backend")
        return [_kernel(asked, exchange)]
    for option, value in (("--backward", asked.backward), ("--as", asked.claim)):
        if value:
            raise InputError(f"{option}: is of a kernel; name it with --forward")
    if exchange != Exchange(dtype=exchange.dtype):
        raise InputError("--layout, --arrays: are of a kernel; name it with --forward")
    if asked.spec:
        return [_spec(asked.spec, asked.backend, exchange.dtype)]
    return [_backend(name, exchange.dtype) for name in _names(asked.backend)]


def _kernel(asked: Asked, exchange: Exchange) -> Target:
    assert asked.forward is not None
    if asked.claim is None:
        raise InputError(
            "--as: says what the kernel computes; e.g. --as recurrence=linear,readout=grm"
        )
    axes = parse_claim(asked.claim)
    addresses = [address for address in (asked.forward, asked.backward) if address]
    kernel = Kernel(
        *map(load_function, addresses),
        recurrence=axes.recurrence, readout=axes.readout, start=axes.start, exchange=exchange,
    )  # fmt: skip
    kernel.name = asked.forward
    functions = "".join(f"    load_function({address!r}),\n" for address in addresses)
    code = (
        f"Kernel(\n{functions}    recurrence={axes.recurrence!r},\n    readout={axes.readout!r},\n"
        f"    start={axes.start!r},\n    exchange={exchange!r},\n)"
    )
    what = f"{claim(axes)}, {exchange.layout}, {exchange.arrays}, {exchange.dtype}"
    return Target(kernel, what, code, Effort())


def _names(backend: str | None) -> list[str]:
    known = {found.name: found for found in report()}
    if backend is None:
        return [name for name, found in known.items() if found.available]
    if backend not in known:
        raise BackendError(f"backend {backend!r} is unknown; {' or '.join(known)} would do")
    if not known[backend].available:
        raise BackendError(f"backend {backend}: {known[backend].missing}")
    return [backend]


def _backend(name: str, dtype: str) -> Target:
    axes = every_axes()
    return _memories(name, dtype, axes, f"{len(axes)} compositions, {dtype}")


def _spec(path: str, backend: str | None, dtype: str) -> Target:
    from mcore.spec import load_spec

    spec = load_spec(path)
    found: list[Axes] = []
    for memory in filter(None, spec.memories()):
        recurrence, readout = (
            axis.model_dump(exclude_defaults=True) | {"kind": axis.kind}
            for axis in (memory.recurrence, memory.readout)
        )
        axes = Axes(recurrence, readout, memory.start)
        if axes not in found:
            found.append(axes)
    if not found:
        raise InputError(f"{path}: has no memory to verify, only attention")
    (name,) = _names(backend or spec.backend.kind)
    words = "; ".join(map(claim, found))
    return _memories(name, dtype, tuple(found), f"{words}, {dtype} ({path})")


def _memories(name: str, dtype: str, axes: tuple[Axes, ...], what: str) -> Target:
    code = f"Memories({name!r}, {dtype!r}, ({{axes}},))"
    return Target(Memories(name, dtype, axes), what, code, Effort(100, 0, 5.0))
