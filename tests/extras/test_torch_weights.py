"""LSTM and GRU layers beside the torch modules that their weights are from: h and all gradients."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcore.arrays import Array
from mcore.testing.agreement import assert_agree
from mcore.weights import load_rnn, save_rnn

torch = pytest.importorskip("torch", reason="torch is not installed; pip install torch brings it")

B, T, C, V = 3, 25, 6, 16
CLOSE = {"float64": 1e-10, "float32": 1e-5}
every_kind = pytest.mark.parametrize("kind", ["LSTM", "GRU"])
every_dtype = pytest.mark.parametrize("dtype", CLOSE)


def module(kind: str, dtype: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return getattr(torch.nn, kind)(C, V, dtype=getattr(torch, dtype), **options)


def drawn(dtype: str, *shape: int) -> Any:
    return torch.randn(*shape, dtype=getattr(torch, dtype), requires_grad=True)


def agree(ours: Array, theirs: Any, dtype: str, name: str) -> None:
    assert_agree(ours, theirs.detach().numpy(), CLOSE[dtype], name)


@every_kind
@every_dtype
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bias", [True, False], ids=["biases", "no biases"])
def test_layers(kind: str, dtype: str, layers: int, bias: bool) -> None:
    net = module(kind, dtype, num_layers=layers, bias=bias, batch_first=True)
    x, dh = drawn(dtype, B, T, C), drawn(dtype, B, T, V).detach()
    h, _ = net(x)
    h.backward(dh)
    rnn = load_rnn(net.state_dict(), dtype=dtype)
    ours, saved = rnn.forward(x.detach())
    grads = rnn.backward(saved, dh)
    agree(ours, h, dtype, "h")
    agree(grads["x"], x.grad, dtype, "x")
    assert list(rnn.params) == [name for name, _ in net.named_parameters()]
    for name, parameter in net.named_parameters():
        agree(grads[name], parameter.grad, dtype, name)


@every_kind
@every_dtype
def test_first_and_last_vectors(kind: str, dtype: str) -> None:
    """From h_0 (and c_0), with gradients of h_n (and c_n) alone."""
    net = module(kind, dtype, num_layers=2, batch_first=True)
    count = 2 if kind == "LSTM" else 1
    before = [drawn(dtype, 2, B, V) for _ in range(count)]
    d_last = [drawn(dtype, 2, B, V).detach() for _ in range(count)]
    x = drawn(dtype, B, T, C)
    _, last = net(x, tuple(before) if count == 2 else before[0])
    last = last if count == 2 else (last,)
    torch.autograd.backward(last, d_last)
    rnn = load_rnn(net.state_dict(), dtype=dtype)
    h, saved = rnn.forward(x.detach(), rnn.begin(*(v.detach() for v in before)))
    d_end = rnn.begin(*d_last)
    grads = rnn.backward(saved, np.zeros_like(h), d_end)
    for ours, theirs in zip(rnn.hidden(saved.end), last, strict=True):
        agree(ours, theirs, dtype, "last")
    for ours, theirs in zip(rnn.hidden(grads["state"]), before, strict=True):
        agree(ours, theirs.grad, dtype, "first")
    agree(grads["x"], x.grad, dtype, "x")


@every_kind
@every_dtype
def test_cells(kind: str, dtype: str) -> None:
    cell = module(f"{kind}Cell", dtype)
    x, state, outputs = drawn(dtype, B, T, C).detach(), None, []
    for t in range(T):
        state = cell(x[:, t], state)
        outputs.append(state[0] if kind == "LSTM" else state)
    rnn = load_rnn({f"a.{n}": p for n, p in cell.state_dict().items()}, "a.", dtype=dtype)
    agree(rnn.forward(x)[0], torch.stack(outputs, dim=1), dtype, "h")
    stream = rnn.stream()
    fed = [stream.feed(x[:, t : t + 1]) for t in range(T)]
    agree(np.concatenate(fed, axis=1), torch.stack(outputs, dim=1), dtype, "fed")


@every_kind
def test_rows_of_unequal_length(kind: str) -> None:
    """As torch's packed sequences."""
    net, x = module(kind, "float64", batch_first=True), drawn("float64", B, T, C).detach()
    lengths = [T, 9, 1]
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
    h, _ = torch.nn.utils.rnn.pad_packed_sequence(net(packed)[0], batch_first=True)
    document = np.where(np.arange(T) < np.array(lengths)[:, None], 0, -1)
    rnn = load_rnn(net.state_dict(), dtype="float64")
    agree(rnn.forward(x, document=document)[0], h, "float64", "h")


@every_kind
def test_torch_takes_what_is_written(kind: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    net, other = (module(kind, "float32", num_layers=2) for _ in range(2))
    rnn = load_rnn(net.state_dict())
    rnn.params["weight_hh_l1"] *= 0.5
    save_rnn(tmp_path / "x.safetensors", rnn)
    other.load_state_dict(load_file(tmp_path / "x.safetensors"))
    with torch.no_grad():
        net.weight_hh_l1 *= 0.5
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter, dict(other.named_parameters())[name])


@every_kind
def test_weights_in_bfloat16_are_widened(kind: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    half = {n: p.bfloat16() for n, p in module(kind, "float32").state_dict().items()}
    save_file(half, tmp_path / "x.safetensors")
    rnn = load_rnn(tmp_path / "x.safetensors")
    for name, parameter in half.items():
        np.testing.assert_array_equal(rnn.params[name], parameter.float().numpy())


def test_what_the_page_shows_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "weights.md").read_text()
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)[:3]:
        exec(block, {})
    for line in capsys.readouterr().out.splitlines():
        assert f"\n{line}\n" in page


def test_what_mcore_has_not() -> None:
    for options, message in (
        ({"bidirectional": True}, "reads later tokens"),
        ({"proj_size": 4}, "projects h"),
    ):
        with pytest.raises(ValueError, match=message):
            load_rnn(module("LSTM", "float32", **options).state_dict())
    with pytest.raises(ValueError, match="plain tanh or relu RNN"):
        load_rnn(module("RNN", "float32").state_dict())
    with pytest.raises(ValueError, match=r"weight_ih_l0: requires a gradient"):
        load_rnn(dict(module("LSTM", "float32").named_parameters()))
