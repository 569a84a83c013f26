// A matrix (rows x width) in any memory times vectors in shared memory, by all threads of a block.
//
// Down the columns a thread has columns of its own, so that what it wrote there it may read without
// a barrier; along the rows a warp has a row. Both read neighbouring numbers by neighbouring lanes.
#pragma once
#include "reduce.cuh"

constexpr int AHEAD = 8;  // numbers of a column that are asked for before the first is used

// Calls f(e) for this thread's columns.
template <class F>
__device__ __forceinline__ void each_column(int width, F f) {
  for (int e = threadIdx.x; e < width; e += blockDim.x) f(e);
}

// sum over i of w[i, e] x[i].
__device__ __forceinline__ Real column_dot(const Real* w, int rows, int width, int e,
                                           const Real* x) {
  Real total = Real(0);
#pragma unroll AHEAD
  for (int i = 0; i < rows; ++i) total += w[i * width + e] * x[i];
  return total;
}

// Calls f(i, sum over e of w[i, e] x[e]) for every row, by one lane.
template <class F>
__device__ __forceinline__ void each_row_dot(const Real* w, int rows, int width, const Real* x,
                                             F f) {
  int lane = threadIdx.x & 31;
  for (int i = threadIdx.x >> 5; i < rows; i += blockDim.x >> 5) {
    Real total = Real(0);
#pragma unroll 4
    for (int e = lane; e < width; e += 32) total += w[i * width + e] * x[e];
    total = warp_sum(total);
    if (lane == 0) f(i, total);
  }
}

struct Pair {
  Real first, second;
};

// Calls put(row, place, get(place)) down column e; a few are loaded before any is stored.
template <class Get, class Put>
__device__ __forceinline__ void down_column(int rows, int width, int e, Get get, Put put) {
  for (int first = 0; first < rows; first += AHEAD) {
    decltype(get(0)) found[AHEAD];
#pragma unroll
    for (int i = 0; i < AHEAD; ++i)
      if (first + i < rows) found[i] = get((first + i) * width + e);
#pragma unroll
    for (int i = 0; i < AHEAD; ++i)
      if (first + i < rows) put(first + i, (first + i) * width + e, found[i]);
  }
}
