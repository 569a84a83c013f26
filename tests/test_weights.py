"""RNNs with torch's weights: the answers of torch's equations, gradients, wrappings, files.

tests/extras/test_torch_weights.py holds the same against torch itself.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import BACKENDS
from safetensors.numpy import load_file
from tolerances import tolerance
from torch_convention import run, weights

import mcore
from mcore.arrays import Array
from mcore.testing.agreement import assert_agree
from mcore.testing.gradcheck import check_inputs
from mcore.weights import Rnn, load_rnn, save_rnn

B, T, C, V = 2, 11, 3, 5
KINDS = ("lstm", "gru")
CUT = {"kind": "constant", "length": 4}
EMA = {"kind": "moving_average", "weights": "ema", "rate": 0.3}
DRIFT = {"kind": "adaptive", "min": 2, "max": 5, "threshold": 0.6}
WRAPPINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "uniform": {"segmentation": CUT, "readout": "moving_average", "start": "checkpoint"},
    "ema": {"segmentation": CUT, "readout": EMA},
    "bounded": {"segmentation": CUT, "readout": EMA, "cache": {"limit": 1, "dtype": "float16"}},
    "routed": {"segmentation": DRIFT, "readout": "grm"},
}
every_kind = pytest.mark.parametrize("kind", KINDS)
every_wrapping = pytest.mark.parametrize("wrapping", WRAPPINGS.values(), ids=WRAPPINGS.keys())


def tokens(seed: int = 1, count: int = T) -> Array:
    return np.random.default_rng(seed).standard_normal((B, count, C))


def made(kind: str, wrapping: dict[str, Any], layers: int = 2) -> tuple[Rnn, dict[str, Array]]:
    """A wrapped RNN in float64, and the further inputs that it needs."""
    rnn = load_rnn(weights(kind, C, V, layers), dtype="float64").wrap(**wrapping)
    rng = np.random.default_rng(2)
    return rnn, {name: rng.standard_normal((B, T, 1, 3)) for name in rnn.further}


def part(further: dict[str, Array], begin: int, end: int) -> dict[str, Array]:
    return {name: array[:, begin:end] for name, array in further.items()}


@every_kind
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("biased", [True, False], ids=["biases", "no biases"])
def test_answers_are_torchs(kind: str, dtype: str, backend: str, biased: bool) -> None:
    params = {n: a for n, a in weights(kind, C, V, 2).items() if biased or "bias" not in n}
    rnn = load_rnn(params, backend=backend, dtype=dtype)
    h, saved = rnn.forward(tokens())
    want, ends = run(kind, params, tokens(), 2)
    assert (rnn.kind, rnn.features, rnn.width, h.dtype.name) == (kind, C, V, dtype)
    assert_agree(h, want, 1e-12 if dtype == "float64" else 1e-5, "h")
    for n, vector in enumerate(rnn.hidden(saved.end)):
        assert_agree(vector, np.stack([end[n] for end in ends]), 1e-5, "end")


def test_the_reset_of_a_gru_lies_behind_its_bias() -> None:
    """b_hn moved to b_in is another function: the test above could not miss it."""
    params = weights("gru", C, V, 1)
    moved = {name: array.copy() for name, array in params.items()}
    moved["bias_ih_l0"][2 * V :] += moved["bias_hh_l0"][2 * V :]
    moved["bias_hh_l0"][2 * V :] = 0
    h, other = (load_rnn(p, dtype="float64").forward(tokens())[0] for p in (params, moved))
    assert np.abs(h - other).max() > 1e-2


@every_kind
def test_a_cell_has_no_number(kind: str) -> None:
    params = weights(kind, C, V, 1)
    cell = {f"net.cell.{name.removesuffix('_l0')}": array for name, array in params.items()}
    rnn = load_rnn({**cell, "net.out.weight": np.ones((2, V))}, "net.cell.", dtype="float64")
    assert list(rnn.params) == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    assert_agree(rnn.forward(tokens())[0], run(kind, params, tokens(), 1)[0], 1e-12, "h")


@every_kind
@every_wrapping
def test_gradients(kind: str, wrapping: dict[str, Any]) -> None:
    if "cache" in wrapping:
        wrapping = {**wrapping, "cache": {"limit": 1}}  # rounding has no slope
    rnn, further = made(kind, wrapping)

    def forward(inputs: dict[str, Array]) -> tuple[Array, Any]:
        own = Rnn(rnn.memory, {name: inputs[name] for name in rnn.params}, rnn.layers)
        given = {name: inputs[name] for name in further}
        h, saved = own.forward(inputs["x"], further=given)
        return h, (own, saved)

    def backward(saved: Any, dh: Array) -> dict[str, Array]:
        own, kept = saved
        return own.backward(kept, dh)  # type: ignore[no-any-return]

    found = check_inputs(forward, backward, {"x": tokens(), **rnn.params, **further})
    assert set(found) == {"x", *rnn.params, *further}


@every_kind
def test_gradients_through_the_state(kind: str) -> None:
    """Two calls, the second from where the first ended, have the gradients of one."""
    rnn, _ = made(kind, WRAPPINGS["uniform"])
    x, dh = tokens(), np.random.default_rng(3).standard_normal((B, T, V))
    _, saved = rnn.forward(x)
    whole = rnn.backward(saved, dh)
    _, first = rnn.forward(x[:, :6])
    _, second = rnn.forward(x[:, 6:], first.end)
    after = rnn.backward(second, dh[:, 6:])
    before = rnn.backward(first, dh[:, :6], after["state"])
    assert "state" not in whole and "state" not in before
    for name in rnn.params:
        assert_agree(before[name] + after[name], whole[name], tolerance("float64", "same"), name)
    assert_agree(np.concatenate([before["x"], after["x"]], axis=1), whole["x"], 1e-10, "x")


@every_kind
def test_begins_from_vectors(kind: str) -> None:
    """As torch begins from h_0 and c_0; the gradient comes back in their form."""
    rnn, _ = made(kind, {})
    x = tokens()
    _, saved = rnn.forward(x[:, :4])
    vectors = rnn.hidden(saved.end)
    whole, _ = rnn.forward(x)
    h, _ = rnn.forward(x[:, 4:], rnn.begin(*vectors))
    assert_agree(h, whole[:, 4:], 1e-12, "h")
    assert_agree(rnn.step(x[:, 4:], rnn.begin(*vectors))[0], h, 1e-12, "step")

    def forward(inputs: dict[str, Array]) -> tuple[Array, Any]:
        return rnn.forward(x[:, 4:], rnn.begin(*inputs.values()))

    def backward(kept: Any, dh: Array) -> dict[str, Array]:
        d_vectors = rnn.hidden(rnn.backward(kept, dh)["state"])
        return dict(zip("hc", d_vectors, strict=False))

    check_inputs(forward, backward, dict(zip("hc", vectors, strict=False)))
    with pytest.raises(mcore.SpecError, match="not wrapped would do"):
        rnn.wrap(CUT, "residual").begin(*vectors)
    with pytest.raises(mcore.InputError, match="begin: 3 arrays"):
        rnn.begin(*vectors[:1] * 3)
    with pytest.raises(mcore.ShapeError, match=r"h: shape .* \(layers, B, V\) = \(2, 2, 5\)"):
        rnn.begin(*(vector[:1] for vector in vectors))


@every_kind
@every_wrapping
def test_a_stream_however_split_gives_the_batch_answer(kind: str, wrapping: dict[str, Any]) -> None:
    rnn, further = made(kind, wrapping)
    x = tokens()
    whole, saved = rnn.forward(x, further=further)
    stream, state, fed, stepped, begin = rnn.stream(), None, [], [], 0
    for end in (1, 2, 7, T):
        more = part(further, begin, end)
        fed.append(stream.feed(x[:, begin:end], further=more))
        h, state = rnn.step(x[:, begin:end], state, further=more)
        stepped.append(h)
        begin = end
    same = tolerance("float64", "same")
    assert_agree(np.concatenate(fed, axis=1), whole, same, "fed")
    assert_agree(np.concatenate(stepped, axis=1), whole, same, "stepped")
    assert stream.state is not None
    for one, other in zip(rnn.hidden(stream.state), rnn.hidden(saved.end), strict=True):
        assert_agree(one, other, same, "end")


@every_kind
@every_wrapping
def test_a_stream_is_saved_and_restored(
    kind: str, wrapping: dict[str, Any], tmp_path: Path
) -> None:
    rnn, further = made(kind, wrapping)
    x = tokens()
    whole = rnn.forward(x, further=further)[0]
    for cut in (0, 3, 4, 9):
        stream = rnn.stream()
        if cut:
            stream.feed(x[:, :cut], further=part(further, 0, cut))
        stream.save(tmp_path / "stream")
        restored = rnn.stream()
        restored.restore(tmp_path / "stream")
        more = part(further, cut, T)
        same, after = (s.feed(x[:, cut:], further=more) for s in (stream, restored))
        np.testing.assert_array_equal(after, same)
        assert_agree(after, whole[:, cut:], 1e-10, "restored")
    other = rnn.wrap("none", "none", start="checkpoint").stream()
    with pytest.raises(mcore.SnapshotError, match="not a stream through these weights"):
        other.restore(tmp_path / "stream")


@every_kind
def test_a_wrapping_reads_the_vectors_of_the_plain_recurrence(kind: str) -> None:
    """With `start: checkpoint`, y is the mean of h now and at the ends of all segments before."""
    rnn, _ = made(kind, {}, layers=1)
    h, _ = rnn.forward(tokens())
    y, _ = rnn.wrap(CUT, "moving_average", start="checkpoint").forward(tokens())
    for t in range(T):
        kept = [h[:, end - 1] for end in range(4, t + 1, 4)]
        assert_agree(y[:, t], np.mean([*kept, h[:, t]], axis=0), 1e-12, f"token {t}")
    assert np.abs(y - h)[:, 4:].min() > 0


@every_kind
def test_wrappings_share_their_weights(kind: str) -> None:
    rnn, _ = made(kind, {})
    wrapped = rnn.wrap(CUT, "moving_average")
    before, _ = wrapped.forward(tokens())
    rnn.params["weight_ih_l0"][...] *= 2
    after, _ = wrapped.forward(tokens())
    assert np.abs(after - before).max() > 1e-3


@every_kind
def test_rows_of_unequal_length(kind: str) -> None:
    rnn, _ = made(kind, {})
    document = np.zeros((B, T), np.int64)
    document[0, 7:] = -1
    h, saved = rnn.forward(tokens(), document=document)
    alone, ended = rnn.forward(tokens()[:1, :7])
    assert_agree(h[:1, :7], alone, 1e-12, "h")
    assert not h[0, 7:].any()
    for one, other in zip(rnn.hidden(saved.end), rnn.hidden(ended.end), strict=True):
        assert_agree(one[:, :1], other, 1e-12, "end")


@every_kind
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_written_weights_are_those_that_were_read(kind: str, dtype: str, tmp_path: Path) -> None:
    params = {f"rnn.{n}": a.astype(dtype) for n, a in weights(kind, C, V, 2).items()}
    path, others = tmp_path / "x.safetensors", {"head.bias": np.arange(3.0)}
    save_rnn(path, load_rnn(params, "rnn.", dtype=dtype), "rnn.", others)
    written = load_file(path)
    assert written.keys() == {*params, *others}
    for name, array in {**params, **others}.items():
        assert (written[name].dtype, written[name].tobytes()) == (array.dtype, array.tobytes())
    again = load_rnn(str(path), "rnn.", dtype=dtype)
    assert all((again.params[n.removeprefix("rnn.")] == a).all() for n, a in params.items())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with pytest.raises(mcore.SnapshotError, match="cannot be written"):
        save_rnn(tmp_path / "none" / "x", again)


def changed(name: str, array: Array | None, kind: str = "lstm") -> dict[str, Array]:
    """Weights with another array under a name, or without it."""
    rest = {n: a for n, a in weights(kind, C, V, 2).items() if n != name}
    return rest if array is None else {**rest, name: array}


WRONG: dict[str, tuple[dict[str, Array], type[Exception], str]] = {
    "bidirectional": (
        changed("weight_ih_l0_reverse", np.ones((20, 3))),
        mcore.InputError,
        "weight_ih_l0_reverse: is of a bidirectional RNN.*causal",
    ),
    "projections": (
        changed("weight_hr_l0", np.ones((2, 5))),
        mcore.InputError,
        "weight_hr_l0: projects h",
    ),
    "no recurrence": (
        changed("weight_hh_l1", None),
        mcore.InputError,
        "weight_hh_l1: missing, while other",
    ),
    "one bias": (changed("bias_hh_l0", None), mcore.InputError, "bias_hh_l0: missing"),
    "a layer left out": (
        {n.replace("_l1", "_l7"): a for n, a in weights("gru", C, V, 2).items()},
        mcore.InputError,
        "weight_ih_l1: missing, while layer 7 is here",
    ),
    "elsewhere": (
        {f"a.b.{n}": a for n, a in weights("gru", C, V, 1).items()},
        mcore.InputError,
        r"weight_ih_l0: missing; prefix='a.b.' would do",
    ),
    "nowhere": ({"w": np.ones(2)}, mcore.InputError, "no array here has the name"),
    "a plain RNN": (
        {"weight_ih_l0": np.ones((5, 3)), "weight_hh_l0": np.ones((5, 5))},
        mcore.ShapeError,
        r"weight_hh_l0: shape \(5, 5\) is a plain tanh or relu RNN",
    ),
    "two gates": (
        {"weight_ih": np.ones((10, 3)), "weight_hh": np.ones((10, 5))},
        mcore.ShapeError,
        "has the gates of neither",
    ),
    "a vector": (
        changed("weight_hh_l0", np.ones(20)),
        mcore.ShapeError,
        "weight_hh_l0: shape .*expected 2 axes",
    ),
    "another width": (
        changed("weight_ih_l1", np.ones((20, 4))),
        mcore.ShapeError,
        r"weight_ih_l1: shape \(20, 4\), expected \(20, 5\)",
    ),
    "not finite": (
        changed("bias_ih_l1", np.full(20, np.nan)),
        mcore.InputError,
        "bias_ih_l1: has NaN or infinity",
    ),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said(case: tuple[dict[str, Array], type[Exception], str]) -> None:
    params, error, message = case
    with pytest.raises(error, match=message):
        load_rnn(params)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(mcore.SnapshotError, match="no such file"):
        load_rnn(tmp_path / "none")
    with pytest.raises(mcore.SnapshotError, match="cannot be read"):
        load_rnn(tmp_path)
    (tmp_path / "x").write_bytes(b"text")
    with pytest.raises(mcore.SnapshotError, match="not a safetensors file"):
        load_rnn(tmp_path / "x")
    with pytest.raises(mcore.InputError, match="source: a list"):
        load_rnn([1])  # type: ignore[arg-type]


def test_calls_that_are_wrong() -> None:
    rnn, _ = made("lstm", {})
    h, saved = rnn.forward(tokens())
    with pytest.raises(mcore.ShapeError, match=r"x: shape \(11, 3\), expected \(B, T, C\)"):
        rnn.forward(tokens()[0])
    with pytest.raises(mcore.ShapeError, match="with C = 3"):
        rnn.stream().feed(np.ones((1, 2, 4)))
    with pytest.raises(mcore.ShapeError, match="dh: shape"):
        rnn.backward(saved, h[:, :2])
    with pytest.raises(mcore.InputError, match="not one of 2 layers"):
        rnn.step(tokens(), saved.end[:1])
    with pytest.raises(mcore.InputError, match="further: has k; it needs nothing"):
        rnn.forward(tokens(), further={"k": tokens()})
    with pytest.raises(mcore.InputError, match=r"further: has nothing; it needs k_l0 \(B T H K\)"):
        rnn.wrap(CUT, "grm").forward(tokens())
    with pytest.raises(mcore.SpecError, match="cannot stream"):
        rnn.wrap("logarithmic", "residual").step(tokens())


@every_kind
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_stream_that_is_never_cut_is_in_the_state_of_steps(kind: str, dtype: str) -> None:
    rnn = load_rnn(weights(kind, C, V, 2), dtype=dtype)
    stream, state, begin = rnn.stream(), None, 0
    x = tokens(count=80)
    for end in (1, 2, 14, 15, 40, 41, 80):
        h = stream.feed(x[:, begin:end])
        want, state = rnn.step(x[:, begin:end], state)
        assert_agree(h, want, tolerance(dtype, "same"), f"tokens before {end}")
        assert stream.state is not None and h.dtype == want.dtype
        for ours, theirs in zip(stream.state, state, strict=True):
            for name, array in vars(theirs).items():
                found = getattr(ours, name)
                if name == "origin":
                    assert found == array
                else:
                    assert (found.dtype, found.shape) == (array.dtype, array.shape), name
                    np.testing.assert_allclose(found, array, rtol=0, atol=1e-5)
        h[...] = 7  # what was handed out is not what goes on
        begin = end
    with pytest.raises(mcore.ShapeError):
        stream.feed(x[:1, :1])
    other = load_rnn(weights("gru" if kind == "lstm" else "lstm", C, V, 2), dtype=dtype)
    with pytest.raises(mcore.InputError, match="this one is"):
        other.stream(state).feed(x[:, :1])
