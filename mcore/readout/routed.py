"""Readouts that choose by content: gates from a query u and the contexts of the segments."""

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar, Literal

import numpy as np

from mcore.arrays import Array
from mcore.errors import SpecError
from mcore.readout.base import Readout
from mcore.recurrence import Feature, Inputs, Law, Parameter
from mcore.router import Online, Pooling, Router

Query = Literal["learned", "shared"]
LARGEST_SEED = 2**63


@dataclass(frozen=True)
class Routed(Readout):
    """Gates by `softmax_i(<u_t, context_i> / sqrt(K))` over cached and online memories (Eq. 10).

    Attributes:
        pool: a context is the `mean` of the segment's keys, or their `sum` (Eq. 16 as printed).
        scale: what logits are multiplied by; None for 1 / sqrt(K), 1 for the raw dot product.
        temperature: logits are multiplied by the input `temperature` (H,) as well.
        u: `learned`, an input; or `shared`, the query q as given, before any feature map.
        online: the online memory `inside` the softmax; or `outside`, read with gate 1.
        detach: no gradient flows through the cache: neither into the checkpoints' states nor into
            their contexts. The online memory, its context and u keep theirs.
    """

    pool: Pooling = "mean"
    scale: float | None = None
    temperature: bool = False
    u: Query = "learned"
    online: Online = "inside"
    detach: bool = False

    def __post_init__(self) -> None:
        if self.scale is not None and not (isfinite(self.scale) and self.scale > 0):
            raise SpecError(
                f"readout.scale: {self.scale} is out of range; a finite number above 0 would do"
            )

    @property
    def inputs(self) -> dict[str, str]:
        """The keys that are pooled, u unless it is q, and the temperature if there is one."""
        declared = {"k": "B T H K"}
        if self.u == "learned":
            declared["u"] = "B T H K"
        if self.temperature:
            declared["temperature"] = "H"
        return declared

    @property
    def features(self) -> dict[str, Law]:
        """u is a plain projection; k too, where no rule has one; a temperature starts at 1."""
        laws: dict[str, Law] = {"u": Feature(conv=False, silu=False), "k": Feature(silu=False)}
        laws["temperature"] = Parameter(lambda rng, shape: np.ones(shape))
        return {name: law for name, law in laws.items() if name in self.inputs}

    @property
    def routing(self) -> Router:
        """The law of the gates."""
        return Router(pool=self.pool, online=self.online, detach=self.detach)

    def complete(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """With q as u, if it is shared."""
        return {**inputs, "u": inputs["q"]} if self.u == "shared" else inputs

    def complete_backward(self, d_inputs: dict[str, Array]) -> dict[str, Array]:
        """q receives the gradients of both."""
        if self.u == "learned":
            return d_inputs
        rest = {name: gradient for name, gradient in d_inputs.items() if name != "u"}
        return rest | {"q": d_inputs["q"] + d_inputs["u"]}

    def queries(self, inputs: Inputs) -> Array:
        """u times the temperature, and times `scale sqrt(K)`, as routing divides by sqrt(K)."""
        u, factor = inputs["u"], self._factor(inputs)
        return u if factor is None else u * factor

    def queries_backward(self, inputs: Inputs, d_queries: Array) -> dict[str, Array]:
        """Gradients of u and the temperature."""
        factor = self._factor(inputs)
        if factor is None:
            return {"u": d_queries}
        found = {"u": d_queries * factor}
        if self.temperature:
            d_heads: Array = (d_queries * inputs["u"]).sum(axis=(0, 1, 3))
            found["temperature"] = d_heads * self._rescaling(inputs)
        return found

    def _factor(self, inputs: Inputs) -> Array | float | None:
        if not self.temperature:
            return None if self.scale is None else self._rescaling(inputs)
        factor: Array = (inputs["temperature"] * self._rescaling(inputs))[:, None]
        return factor

    def _rescaling(self, inputs: Inputs) -> float:
        return 1.0 if self.scale is None else float(self.scale * inputs["u"].shape[-1] ** 0.5)


@dataclass(frozen=True)
class Grm(Routed):
    """Gated residual memory: a softmax over cached and online contexts (Eq. 8-10)."""

    kind: ClassVar[str] = "grm"


@dataclass(frozen=True)
class Soup(Routed):
    """Memory soup: the gates of GRM mix the memories' parameters, then one read (Eq. 14-15)."""

    kind: ClassVar[str] = "soup"
    mixes_states: ClassVar[bool] = True


@dataclass(frozen=True)
class Ssc(Routed):
    """Sparse selective caching: softmax over the `top_k` best and the online memory (Eq. 16-17).

    Attributes:
        top_k: how many checkpoints a token reads.
        router: `learned` takes those with the largest logits; `random`, a control, takes them by
            lot, whatever is in them: the same ones for a token wherever its row or its stream is
            cut. Gates are the softmax of the logits over the taken either way.
        seed: of the lots; 0 if None.
    """

    kind: ClassVar[str] = "ssc"
    top_k: int = 2
    router: Literal["learned", "random"] = "learned"
    seed: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k < 1:
            raise SpecError(f"readout.top_k: {self.top_k} is too small; 1 or more would do")
        if self.seed is not None and self.router != "random":
            raise SpecError("readout.seed: belongs to router random; drop it, or set that router")
        if self.seed is not None and not 0 <= self.seed < LARGEST_SEED:
            raise SpecError(f"readout.seed: {self.seed} is out of range; 0 or more would do")

    @property
    def routing(self) -> Router:
        """Softmax over the selected checkpoints and the online memory."""
        seed = (self.seed or 0) if self.router == "random" else None
        return Router(self.top_k, self.pool, self.online, seed, self.detach)
