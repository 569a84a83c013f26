// A vector input of a token mixer at one channel: convolution, bias, SiLU.
#pragma once
#include "reduce.cuh"

constexpr int MOST_TAPS = 8, LANE_CHANNELS = 8;  // W, and channels of a head / 32, at most

// x (B, T, C): tokens lie `pitch` apart, channels side by side; the W - 1 tokens before in `tail`.
// `weight` (C, W) and `bias` (C,), null where there is none; `reach` (B, T) or null for W - 1.
struct Conv {
  const Token *x, *tail;
  const Real *weight, *bias;
  const int* reach;
  int pitch, tail_pitch, tokens, taps;

  __device__ __forceinline__ Real input(int row, int t, int channel) const {
    if (t >= 0) return Real(x[((long long)row * tokens + t) * pitch + channel]);
    return Real(tail[((long long)row * (taps - 1) + taps - 1 + t) * tail_pitch + channel]);
  }

  // How many tokens before t are seen.
  __device__ __forceinline__ int seen(int row, int t) const {
    return reach ? min(reach[(long long)row * tokens + t], taps - 1) : taps - 1;
  }

  __device__ __forceinline__ Real at(int row, int t, int channel) const {
    Real z = input(row, t, channel);
    if (weight) {
      const Real* own = weight + channel * taps;
      z *= own[taps - 1];
      int far = seen(row, t);
      for (int j = 1; j <= far; ++j) z += input(row, t - j, channel) * own[taps - 1 - j];
    }
    return bias ? z + bias[channel] : z;
  }
};
