// Checkpoints that a tile of tokens reads, with weights: gates where they are visible, else 0.
#pragma once
#include "load.cuh"
#include "reduce.cuh"

struct Columns {
  const Real *states, *gates;       // (B, C, H, P); (B, T, H, gated), or null for ones
  const int *first, *last, *segment;  // of Cuts
  int tokens, heads, segments, count, gated, keys, width, size;

  __device__ __forceinline__ long long token(int b, int t, int h) const {
    return ((long long)b * tokens + t) * heads + h;
  }
  __device__ __forceinline__ long long state(int b, int column, int h) const {
    return (((long long)b * count + column) * heads + h) * size;
  }
  __device__ __forceinline__ bool sees(int b, int t, int column) const {
    int s = b * segments + segment[b * tokens + t];
    return first[s] <= column && column < last[s];
  }
  __device__ __forceinline__ Real weight(int b, int t, int h, int column) const {
    if (t >= tokens || !sees(b, t, column)) return Real(0);
    return gates ? gates[token(b, t, h) * gated + column] : Real(1);
  }
  // A matrix of a checkpoint: its columns from `slice` on, of w_in or (1) of w_out transposed.
  __device__ __forceinline__ Matrix<const Real> matrix(int b, int column, int h, int which,
                                                       int slice) const {
    return {states + state(b, column, h) + which * keys * width + slice, width, keys,
            width - slice};
  }
  // Rows of an array (B, T, H, wide) from token t on, their numbers from `slice` on.
  template <class T>
  __device__ __forceinline__ Matrix<T> rows(T* x, int b, int t, int h, int wide, int slice) const {
    return {x + token(b, t, h) * wide + slice, (long long)heads * wide, tokens - t, wide - slice};
  }
};

// The columns that any of `count` tokens from t on sees are among low <= i < high.
struct Range {
  int low, high;
};

__device__ __forceinline__ Range seen_by(const Columns& c, int b, int t, int count, int* scratch) {
  int low = 0x7fffffff, high = 0;
  for (int i = threadIdx.x; i < count; i += blockDim.x)
    if (t + i < c.tokens) {
      int s = b * c.segments + c.segment[b * c.tokens + t + i];
      if (c.first[s] < c.last[s]) {
        low = min(low, c.first[s]);
        high = max(high, c.last[s]);
      }
    }
  return {-block_max(-low, scratch), block_max(high, scratch)};
}

// weights[i] of `count` tokens from t on; whether any is not 0. Begins and ends with a barrier.
__device__ __forceinline__ bool weigh(const Columns& c, int b, int t, int h, int column, int count,
                                      Real* weights, int* scratch) {
  __syncthreads();
  int any = 0;
  for (int i = threadIdx.x; i < count; i += blockDim.x) {
    weights[i] = c.weight(b, t + i, h, column);
    any |= weights[i] != Real(0);
  }
  return block_max(any, scratch);
}
