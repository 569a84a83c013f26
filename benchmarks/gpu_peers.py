"""Others on the same device: PyTorch eager for the cached layer, flash-linear-attention for bases.

Both take mcore's arrays through DLPack. What is not installed is left out.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from benchmarks.gpu_lab import Lab
from benchmarks.problem import Problem

Calls = dict[str, Callable[[], object]]


def calls(lab: Lab, problem: Problem, inputs: Mapping[str, Any], dy: Any) -> Calls:
    """Forward with backward of each peer that knows the problem and is installed."""
    if lab.emulated or find_spec("torch") is None:
        return {}
    import torch

    if not torch.cuda.is_available():
        return {}
    held = {name: torch.from_dlpack(x).clone().requires_grad_() for name, x in inputs.items()}
    found: Calls = {}
    if problem.simplest:
        found["torch both"] = lambda: _torch_grm(held, torch.from_dlpack(dy), problem)
    if problem.readout == "none" and find_spec("fla") is not None:
        base = _fla_of(problem.rule)
        if base is not None:
            found["fla both"] = lambda: _differentiated(base(held), held, torch.from_dlpack(dy))
    return found


def _differentiated(y: Any, held: Mapping[str, Any], dy: Any) -> None:
    import torch

    used = [x for x in held.values() if x.requires_grad]
    torch.autograd.grad(y, used, dy, allow_unused=True)


def _torch_grm(held: Mapping[str, Any], dy: Any, problem: Problem) -> None:
    """`linear` with `grm`, in eager PyTorch: one batched product per segment over gated states."""
    import torch

    q, k, v, u = (held[name].transpose(1, 2) for name in ("q", "k", "v", "u"))
    length, ends = problem.segment, range(0, problem.tokens, problem.segment)
    causal = torch.ones(length, length, device=q.device).tril()
    states: list[Any] = []
    contexts: list[Any] = []
    outputs = []
    for begin in ends:
        cut = slice(begin, begin + length)
        qs, ks, vs, us = (x[:, :, cut] for x in (q, k, v, u))
        own = (qs @ ks.transpose(-1, -2) * causal) @ vs
        means = ks.cumsum(2) / torch.arange(1, length + 1, device=q.device)[:, None]
        logits = [(us * means).sum(-1, keepdim=True)]
        if contexts:
            logits.insert(0, us @ torch.stack(contexts, 2).transpose(-1, -2))
        gates = torch.softmax(torch.cat(logits, -1) * problem.width**-0.5, -1)
        y = gates[..., -1:] * own
        if states:
            read = torch.einsum("bhtk,bhnkv->bhtnv", qs, torch.stack(states, 2))
            y = y + torch.einsum("bhtn,bhtnv->bhtv", gates[..., :-1], read)
        outputs.append(y)
        states.append(ks.transpose(-1, -2) @ vs)
        contexts.append(means[:, :, -1])
    _differentiated(torch.cat(outputs, 2).transpose(1, 2), held, dy)


def _fla_of(rule: str) -> Callable[[Mapping[str, Any]], Any] | None:
    """flash-linear-attention's chunked kernel of a base rule."""
    from fla import ops  # type: ignore[import-not-found]

    def plain(name: str, *extra: str) -> Callable[[Mapping[str, Any]], Any]:
        kernel = getattr(ops, name)
        return lambda x: kernel(x["q"], x["k"], x["v"], *(x[e] for e in extra), scale=1.0)[0]

    known = {
        "linear": lambda: plain("chunk_linear_attn"),
        "gated_linear": lambda: plain("chunk_simple_gla", "log_decay"),
        "gla": lambda: plain("chunk_gla", "log_decay"),
        "delta": lambda: plain("chunk_delta_rule", "beta"),
        "gated_delta": lambda: plain("chunk_gated_delta_rule", "log_decay", "beta"),
    }
    try:
        return known[rule]() if rule in known else None
    except AttributeError:
        return None
