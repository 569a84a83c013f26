"""The network of a gated delta memory with gated residual readout, once more in PyTorch eager.

Its parameters are copies of a compiled model's, by the same names; everything else is written in
what was measured to be PyTorch's fastest formulation: segments as one batch, the delta rule in its
chunkwise form (a triangular solve), the checkpoints read by one batched product per segment over
gated copies of the queries, views split once instead of sliced, a depthwise conv1d, fused AdamW.
"""

import torch
from torch import Tensor
from torch.nn import functional

from mcore.arrays import Array
from mcore.model import Model
from mcore.model.memory_mixer import MemoryMixer
from mcore.segmentation import Constant

EPS = 1e-6


class TorchModel:
    """Loss, gradients and training step of a copy of `model`.

    Attributes:
        params: dotted name -> leaf tensor.
    """

    def __init__(self, model: Model) -> None:
        self.params = {
            name: torch.tensor(array).requires_grad_() for name, array in model.params.items()
        }
        self._depth = len(model.layout.parts) // 2
        mixer = model.layout.parts["blocks.0.mixer"].part
        assert isinstance(mixer, MemoryMixer)
        self._heads = mixer.sizes.heads
        slots = mixer.projection.slots
        assert [slot.name for slot in slots[:3]] == ["q", "k", "v"]
        self._others = {s.name: s.columns.stop - s.columns.start for s in slots[3:]}
        cut = mixer.memory.segmentation
        assert isinstance(cut, Constant)
        self._length = cut.length
        train = model.spec.train
        self._clip, chosen = train.clip, train.optimizer
        plain = [p for n, p in self.params.items() if n in model.no_decay]
        decayed = [p for n, p in self.params.items() if n not in model.no_decay]
        self._optimizer = torch.optim.AdamW(
            [{"params": decayed}, {"params": plain, "weight_decay": 0.0}],
            lr=chosen.lr,
            betas=chosen.betas,
            eps=chosen.eps,
            weight_decay=chosen.weight_decay,
            fused=True,
        )

    def loss(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of labels (B, T) of tokens (B, T)."""
        embedding = self.params["embedding.weight"]
        x = functional.embedding(tokens, embedding)
        for n in range(self._depth):
            x = x + self._mixer(f"blocks.{n}.mixer", x)
            x = x + self._mlp(f"blocks.{n}.mlp", x)
        logits = _norm(x, self.params["final.weight"]) @ embedding.T
        return functional.cross_entropy(logits.flatten(0, 1), labels.flatten())

    def step(self, tokens: Tensor, labels: Tensor) -> float:
        """Forward, backward, clip, update; the loss before it."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = self.loss(tokens, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params.values(), self._clip, foreach=True)
        self._optimizer.step()
        return float(loss.detach())

    def gradients(self) -> dict[str, Array]:
        """Of the last loss that was run back."""
        found: dict[str, Array] = {}
        for name, p in self.params.items():
            assert p.grad is not None
            found[name] = p.grad.numpy()
        return found

    def _mlp(self, name: str, x: Tensor) -> Tensor:
        gate, up, down = (self.params[f"{name}.{n}.weight"] for n in ("gate", "up", "down"))
        x = _norm(x, self.params[f"{name}.pre.weight"])
        return (functional.silu(x @ gate) * (x @ up)) @ down

    def _mixer(self, name: str, x: Tensor) -> Tensor:
        own = {n.removeprefix(f"{name}."): p for n, p in self.params.items() if n.startswith(name)}
        z = _norm(x, own["pre.weight"]) @ own["project.weight"]
        convolved = len(own["conv.weight"])
        first, *rest = z.split([convolved, *self._others.values()], -1)
        found = dict(zip(self._others, rest, strict=True))
        mixed = functional.silu(_conv(first, own["conv.weight"]))
        q, k, v = (self._split(part) for part in mixed.chunk(3, -1))
        q, k = _unit(q) * q.shape[-1] ** -0.5, _unit(k)
        step = functional.softplus(found["log_decay"] + own["dt_bias"])
        log_decay = self._split(-own["a_log"].exp() * step)[..., 0]
        beta = self._split(found["beta"].sigmoid())
        y = _memory((q, k, v, self._split(found["u"])), log_decay, beta)
        y = y.unflatten(0, (x.shape[0], self._heads)).flatten(2, 3).transpose(1, 2)
        y = _norm(y, own["norm.weight"]).flatten(2) * functional.silu(found["z"])
        return y @ own["out.weight"]

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, H width) to (B H, N, C, width): heads and segments apart."""
        x = x.unflatten(2, (self._heads, -1)).transpose(1, 2).flatten(0, 1)
        return x.unflatten(1, (-1, self._length))


def _memory(inputs: tuple[Tensor, Tensor, Tensor, Tensor], decay: Tensor, beta: Tensor) -> Tensor:
    """(P, N, C, V) from q, k, v, u (P, N, C, K), log decays (P, N, C), beta (P, N, C, 1)."""
    q, k, v, u = inputs
    size = q.shape[2]
    total = decay.cumsum(2)
    lower = torch.ones(size, size, dtype=torch.bool).tril()
    between = (total[..., :, None] - total[..., None, :]).masked_fill(~lower, -torch.inf).exp()
    system = (beta * ((k @ k.mT) * between)).tril(-1)
    delta = torch.linalg.solve_triangular(system, beta * v, upper=False, unitriangular=True)
    online = ((q @ k.mT) * between) @ delta
    states = (k * (total[..., -1:] - total).exp()[..., None]).mT @ delta
    answers, queries = online.unbind(1), q.unbind(1)
    out, flat = [], states.flatten(1, 2)
    for s, gates in enumerate(_gates(u, k).unbind(1)):
        y = gates[..., -1:] * answers[s]
        if s:
            gated = (gates[..., :s, None] * queries[s][..., None, :]).flatten(2)
            y = torch.baddbmm(y, gated, flat[:, : gated.shape[-1]])
        out.append(y)
    return torch.stack(out, 1)


def _gates(u: Tensor, k: Tensor) -> Tensor:
    """(P, N, C, N + 1): a softmax over the segments before, and the open one last."""
    _, segments, size, width = u.shape
    means = k.cumsum(2) / torch.arange(1, size + 1, dtype=k.dtype)[:, None]
    cached = (u.flatten(1, 2) @ means[:, :, -1].mT).unflatten(1, (segments, size))
    later = torch.ones(segments, segments, dtype=torch.bool).triu()[:, None]
    cached = cached.masked_fill(later, -torch.inf)
    online = (u * means).sum(-1, keepdim=True)
    return torch.softmax(torch.cat([cached, online], -1) * width**-0.5, -1)


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return functional.rms_norm(x, weight.shape, weight, EPS)


def _unit(x: Tensor) -> Tensor:
    return x * (x.square().sum(-1, keepdim=True) + EPS).rsqrt()


def _conv(x: Tensor, weight: Tensor) -> Tensor:
    """Each channel's filter over a token and the ones before it; x (B, T, C), weight (C, W)."""
    channels, width = weight.shape
    y = functional.conv1d(x.mT, weight[:, None], padding=width - 1, groups=channels)
    return y[..., : x.shape[1]].mT
