"""Linear attention: an additive memory (Katharopoulos et al. 2020; Behrouz et al. 2026, Eq. 2).

    S_t = S_{t-1} + phi(k_t) v_t^T          z_t = z_{t-1} + phi(k_t)
    y_t = S_t^T phi(q_t)
    y_t = S_t^T phi(q_t) / (z_t . phi(q_t) + eps)          if normalised

The normaliser z is one more column of the state: the values are extended by a constant 1.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

from mcore.arrays import Array, namespace
from mcore.errors import SpecError
from mcore.recurrence.base import Dims, Inputs
from mcore.recurrence.laws import Feature, Law
from mcore.recurrence.matrix import MatrixMemory, outer, times, transposed_times

EPS = 1e-6
"""Added to the normaliser of a read."""

FeatureMap = Literal["identity", "elu1"]


@dataclass(frozen=True)
class Linear(MatrixMemory):
    """Add k v^T, forget nothing: linear attention.

    Attributes:
        feature_map: phi; `identity`, or `elu1`: `elu(x) + 1`, which is positive.
        normalize: divide the read by `z . phi(q) + eps`; the read is then not linear in the state.
    """

    kind: ClassVar[str] = "linear"
    feature_map: FeatureMap = field(
        default="identity",
        metadata={"description": "What keys and queries pass through; elu1 is elu(x) + 1."},
    )
    normalize: bool = field(
        default=False, metadata={"description": "Divide each read by the keys summed up so far."}
    )

    def __post_init__(self) -> None:
        if self.feature_map not in get_args(FeatureMap):
            allowed = " or ".join(get_args(FeatureMap))
            raise SpecError(
                f"recurrence.feature_map: {self.feature_map!r} is unknown; {allowed} would do"
            )

    @property
    def linear_read(self) -> bool:
        """Only without the normaliser."""
        return not self.normalize

    @property
    def features(self) -> dict[str, Law]:
        """Without a positive feature map or a normaliser, keys of unit length keep the sum tame."""
        mapped = self.feature_map != "identity"
        key = Feature(silu=not mapped, unit=not mapped)
        query = Feature(silu=not mapped, unit=not mapped)
        return {"q": query, "k": key, "v": Feature()}

    def state_shape(self, dims: Dims) -> tuple[int, ...]:
        """(K, V), or (K, V + 1) with the normaliser as last column."""
        return (dims.K, dims.V + self.normalize)

    def prepare(self, inputs: Inputs) -> tuple[dict[str, Array], Any]:
        """`q, k <- phi(q), phi(k)`."""
        if self.feature_map == "identity":
            return dict(inputs), None
        prepared = dict(inputs)
        prepared["q"], prepared["k"] = elu1(inputs["q"]), elu1(inputs["k"])
        return prepared, prepared

    def prepare_backward(self, saved: Any, d_prepared: dict[str, Array]) -> dict[str, Array]:
        """`phi' = min(phi, 1)`: 1 above zero, exp(x) = phi below."""
        if saved is None:
            return d_prepared
        gradients = dict(d_prepared)
        for name in ("q", "k"):
            xp = namespace(saved[name])
            gradients[name] = d_prepared[name] * xp.minimum(saved[name], 1)
        return gradients

    def step(self, state: Array, x: Inputs) -> Array:
        """`S + k v^T`, the value extended by a 1 if normalised."""
        return state + outer(x["k"], self._value(x))

    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """`dk = dS v`, `dv = dS^T k`, and dS unchanged."""
        d_value = transposed_times(d_state, x["k"])[..., : x["v"].shape[-1]]
        return d_state, {"k": times(d_state, self._value(x)), "v": d_value}

    def read(self, state: Array, q: Array) -> Array:
        """`S^T q`, divided by `z . q + eps` if normalised."""
        answer = super().read(state, q)
        if not self.normalize:
            return answer
        return answer[..., :-1] / (answer[..., -1:] + EPS)

    def read_backward(self, state: Array, q: Array, dy: Array) -> tuple[Array, Array]:
        """Quotient rule on numerator and normaliser, then the linear read's."""
        if not self.normalize:
            return super().read_backward(state, q, dy)
        xp = namespace(state)
        answer = super().read(state, q)
        scale = answer[..., -1:] + EPS
        d_scale = -(dy * answer[..., :-1]).sum(axis=-1, keepdims=True) / scale**2
        return super().read_backward(state, q, xp.concatenate([dy / scale, d_scale], axis=-1))

    def _value(self, x: Inputs) -> Array:
        if not self.normalize:
            return x["v"]
        xp = namespace(x["v"])
        one = xp.ones((*x["v"].shape[:-1], 1), x["v"].dtype)
        extended: Array = xp.concatenate([x["v"], one], axis=-1)
        return extended


def elu1(x: Array) -> Array:
    """`elu(x) + 1`: `x + 1` above zero, `exp(x)` below."""
    xp = namespace(x)
    mapped: Array = xp.maximum(x, 0) + xp.exp(xp.minimum(x, 0))
    return mapped
