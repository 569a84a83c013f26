"""AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101, Algorithm 2) over a dict of parameters."""

from collections.abc import Collection, Mapping

import numpy as np

from mcore.arrays import Array
from mcore.snapshot import copy_into

# Five arrays of this many numbers stay in the second-level cache through all passes over them.
_BLOCK = 32768


class AdamW:
    """Adam with decoupled weight decay; writes into the parameters' own memory.

        m <- b1 m + (1 - b1) g                v <- b2 v + (1 - b2) g^2
        p <- p - lr decay p - lr (m / (1 - b1^n)) / (sqrt(v / (1 - b2^n)) + eps)

    with n the number of updates, and no decay for the names in `no_decay`. Besides m and v it holds
    one block of scratch. Tensors are walked block by block where they lie: a flat copy of all of
    them was measured to be no faster (1.5 M parameters: 2.0 ms either way, 6.6 ms without blocks
    and in-place passes).

    Raises: ValueError when a parameter is not contiguous.
    """

    def __init__(
        self,
        params: Mapping[str, Array],
        no_decay: Collection[str],
        *,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        loose = [name for name, p in params.items() if not p.flags.c_contiguous]
        if loose:
            raise ValueError(f"parameters must be contiguous: {', '.join(loose)}")
        self.params = params
        self.updates = 0
        self._betas, self._eps = betas, eps
        self._decay = {name: 0.0 if name in no_decay else weight_decay for name in params}
        self._m = {name: np.zeros_like(p) for name, p in params.items()}
        self._v = {name: np.zeros_like(p) for name, p in params.items()}
        self._scratch = {p.dtype: np.empty(_BLOCK, p.dtype) for p in params.values()}

    def update(self, grads: Mapping[str, Array], rate: float, scale: float = 1.0) -> None:
        """One step down `scale * grads` at learning rate `rate`."""
        self.updates += 1
        for name, p in self.params.items():
            shrink = 1.0 - rate * self._decay[name]
            arrays = [a.reshape(-1) for a in (p, self._m[name], self._v[name], grads[name])]
            for start in range(0, p.size, _BLOCK):
                self._block([a[start : start + _BLOCK] for a in arrays], rate, scale, shrink)

    def state(self) -> dict[str, Array]:
        """m and v by name, for a snapshot; the arrays themselves, not copies."""
        moments = {"m": self._m, "v": self._v}
        return {f"{k}/{name}": a for k, by_name in moments.items() for name, a in by_name.items()}

    def restore(self, state: Mapping[str, Array], updates: int) -> None:
        """Go on from a state that `state()` gave after so many updates.

        Raises: SnapshotError when the state belongs to other parameters.
        """
        copy_into(self.state(), state)
        self.updates = updates

    def _block(self, arrays: list[Array], rate: float, scale: float, shrink: float) -> None:
        p, m, v, grad = arrays
        (b1, b2), n = self._betas, self.updates
        t = self._scratch[p.dtype][: p.size]
        np.multiply(grad, (1.0 - b1) * scale, out=t)
        m *= b1
        m += t
        np.square(t, out=t)
        t *= (1.0 - b2) / (1.0 - b1) ** 2
        v *= b2
        v += t
        np.sqrt(v, out=t)
        t *= (1.0 - b2**n) ** -0.5
        t += self._eps
        np.divide(m, t, out=t)
        t *= rate / (1.0 - b1**n)
        p *= shrink
        p -= t
