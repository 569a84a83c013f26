"""Convolution, token shift and rotary positions, fed in any pieces, against all at once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mcore.arrays import Array
from mcore.layers.conv import short_conv, short_conv_backward
from mcore.layers.rope import rotary, rotary_backward
from mcore.layers.shift import token_shift, token_shift_backward

B, C, K = 2, 3, 6
pieces = st.lists(st.integers(1, 6), min_size=1, max_size=5)
widths = st.integers(1, 5)
seeds = st.integers(0, 2**16)


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def cut(x: Array, lengths: list[int]) -> list[Array]:
    return np.split(x, np.cumsum(lengths)[:-1], axis=1)


@given(pieces, widths, seeds)
def test_conv_streams_to_the_bit(lengths: list[int], width: int, seed: int) -> None:
    x, weight = normal(seed, B, sum(lengths), C), normal(seed + 1, C, width)
    tail = normal(seed + 2, B, width - 1, C)
    (whole, end), _ = short_conv(x, weight, tail)
    outputs = []
    for piece in cut(x, lengths):
        (y, tail), _ = short_conv(piece, weight, tail)
        outputs.append(y)
    np.testing.assert_array_equal(np.concatenate(outputs, axis=1), whole)
    np.testing.assert_array_equal(tail, end)


@given(pieces, widths, seeds)
def test_conv_gradients_cross_the_pieces(lengths: list[int], width: int, seed: int) -> None:
    x, weight = normal(seed, B, sum(lengths), C), normal(seed + 1, C, width)
    tail, d_end = normal(seed + 2, B, width - 1, C), normal(seed + 3, B, width - 1, C)
    dy = normal(seed + 4, *x.shape)
    _, whole = short_conv(x, weight, tail)
    dx, dweight, d_start = short_conv_backward(whole, dy, d_end)
    saves = []
    for piece in cut(x, lengths):
        (_, tail), saved = short_conv(piece, weight, tail)
        saves.append(saved)
    found: list[Array] = []
    total = np.zeros_like(dweight)
    for saved, d_piece in zip(reversed(saves), reversed(cut(dy, lengths)), strict=True):
        dx_piece, dweight_piece, d_end = short_conv_backward(saved, d_piece, d_end)
        found.insert(0, dx_piece)
        total += dweight_piece
    np.testing.assert_allclose(np.concatenate(found, axis=1), dx, rtol=0, atol=1e-5)
    np.testing.assert_allclose(total, dweight, rtol=0, atol=1e-4)
    np.testing.assert_allclose(d_end, d_start, rtol=0, atol=1e-5)


@given(pieces, seeds)
def test_token_shift_streams_to_the_bit(lengths: list[int], seed: int) -> None:
    x, mix, last = normal(seed, B, sum(lengths), C), normal(seed + 1, 2, C), normal(seed, B, 1, C)
    (whole, end), _ = token_shift(x, mix, last)
    outputs = []
    for piece in cut(x, lengths):
        (y, last), _ = token_shift(piece, mix, last)
        outputs.append(y)
    np.testing.assert_array_equal(np.concatenate(outputs, axis=2), whole)
    np.testing.assert_array_equal(last, end)


@given(pieces, seeds)
def test_token_shift_gradients_cross_the_pieces(lengths: list[int], seed: int) -> None:
    x, mix, last = normal(seed, B, sum(lengths), C), normal(seed + 1, 2, C), normal(seed, B, 1, C)
    dy, d_end = normal(seed + 2, 2, *x.shape), normal(seed + 3, B, 1, C)
    _, whole = token_shift(x, mix, last)
    dx, d_mix, d_start = token_shift_backward(whole, dy, d_end)
    saves = []
    for piece in cut(x, lengths):
        (_, last), saved = token_shift(piece, mix, last)
        saves.append(saved)
    found: list[Array] = []
    total = np.zeros_like(d_mix)
    d_pieces = np.split(dy, np.cumsum(lengths)[:-1], axis=2)
    for saved, d_piece in zip(reversed(saves), reversed(d_pieces), strict=True):
        dx_piece, d_mix_piece, d_end = token_shift_backward(saved, d_piece, d_end)
        found.insert(0, dx_piece)
        total += d_mix_piece
    np.testing.assert_allclose(np.concatenate(found, axis=1), dx, rtol=0, atol=1e-5)
    np.testing.assert_allclose(total, d_mix, rtol=0, atol=1e-4)
    np.testing.assert_allclose(d_end, d_start, rtol=0, atol=1e-5)


def test_conv_is_a_causal_convolution() -> None:
    x, weight = normal(0, 1, 7, 1), normal(1, 1, 4)
    (y, _), _ = short_conv(x, weight, np.zeros((1, 3, 1), np.float32))
    wanted = np.convolve(x[0, :, 0], weight[0, ::-1])[:7]
    np.testing.assert_allclose(y[0, :, 0], wanted, rtol=0, atol=1e-6)


def test_new_tail_does_not_keep_the_sequence_alive() -> None:
    (_, tail), _ = short_conv(normal(0, B, 50, C), normal(1, C, 4), normal(2, B, 3, C))
    assert tail.base is None


@given(pieces, st.integers(0, 100_000), seeds)
def test_rotary_streams_to_the_bit(lengths: list[int], start: int, seed: int) -> None:
    x = normal(seed, B, sum(lengths), 2, K)
    whole, _ = rotary(x, start)
    starts = start + np.cumsum([0, *lengths])
    outputs = [
        rotary(piece, int(at))[0] for piece, at in zip(cut(x, lengths), starts, strict=False)
    ]
    np.testing.assert_array_equal(np.concatenate(outputs, axis=1), whole)


def test_rotary_scores_depend_on_the_distance_only() -> None:
    q, k = normal(0, 1, 1, 1, 8).astype(float), normal(1, 1, 1, 1, 8).astype(float)
    scores = [
        float((rotary(q, at + 5)[0] * rotary(k, at)[0]).sum()) for at in (0, 1, 17, 4096, 100_000)
    ]
    np.testing.assert_allclose(scores, scores[0], rtol=0, atol=1e-9)
    assert abs(scores[0] - float((q * k).sum())) > 1e-3


def test_rotary_keeps_lengths_and_position_zero() -> None:
    x = normal(0, 1, 4, 1, 7).astype(float)
    y, saved = rotary(x, 0)
    np.testing.assert_array_equal(y[:, 0], x[:, 0])
    np.testing.assert_array_equal(y[..., -1], x[..., -1])
    np.testing.assert_allclose((y * y).sum(-1), (x * x).sum(-1), rtol=1e-14)
    np.testing.assert_allclose(rotary_backward(saved, y), x, rtol=0, atol=1e-15)


def test_rotary_turns_by_the_stated_angles() -> None:
    y, _ = rotary(np.array([[[[1.0, 1.0, 0.0, 0.0]]]]), 3)
    wanted = [np.cos(3), np.cos(3 / 100), np.sin(3), np.sin(3 / 100)]
    np.testing.assert_allclose(y[0, 0, 0], wanted, rtol=1e-15)
