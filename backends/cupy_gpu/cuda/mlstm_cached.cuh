// Cached memories of a matrix LSTM: checkpoints (B, C, H, P) are C with n behind it, (K, V + 1), and
// m; who sees which; and divisors of answers, max(|n . q|, e^-m) + eps.
#pragma once
#include "base.cuh"

constexpr Real EPS = Real(1e-6);     // added to a divisor
constexpr Real STEEPEST = Real(80);  // bound of -m in e^-m

__device__ __forceinline__ Real least_divisor(Real m) { return exp(min(-m, STEEPEST)); }

struct Cached {
  int tokens, heads, keys, values, columns;
  __device__ __forceinline__ long long token(int row, int t, int head) const {
    return ((long long)row * tokens + t) * heads + head;
  }
  // Where a checkpoint begins.
  __device__ __forceinline__ long long state(int row, int column, int head) const {
    long long index = ((long long)row * columns + column) * heads + head;
    return index * (keys + 1) * (values + 1);
  }
  // Where its m lies.
  __device__ __forceinline__ long long maximum(int row, int column, int head) const {
    return state(row, column, head) + (long long)keys * (values + 1);
  }
};
#define CACHED int tokens, int heads, int keys, int values, int columns

struct Sight {
  const int *first, *last;  // (B, T)
  __device__ __forceinline__ bool sees(int row, int tokens, int t, int column) const {
    long long at = (long long)row * tokens + t;
    return t < tokens && first[at] <= column && column < last[at];
  }
};
