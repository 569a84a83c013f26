// Several tiles of one shape at once: a thread holds the same places of each; and sums along rows.
#pragma once
#include "tile.cuh"

// Calls f(row, column, own, part) for every number tile.x[own][part] that this thread holds of any
// tile M x N.
template <class Any, class F>
__device__ __forceinline__ void each_place(F f) {
  int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll
  for (int own = 0; own < Any::OWN; ++own) {
    int unit = Any::first_unit() + own * Any::WARPS;
    if (unit >= Any::UNITS) break;
    int i = unit % Any::DOWN * 16 + g, j = unit / Any::DOWN * 8 + 2 * t;
#pragma unroll
    for (int part = 0; part < 4; ++part) f(i + part / 2 * 8, j + part % 2, own, part);
  }
}

// sums[warp][row] += the sum over columns of f(row, column, own, part): a warp adds what its own
// units hold, in their order. The warps' parts are yet to be added up, behind a barrier.
template <class Any, class F>
__device__ __forceinline__ void add_row_sums(Real* sums, F f) {
  constexpr int M = Any::DOWN * 16;
  int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  Real* own_sums = sums + (threadIdx.x >> 5) * M;
#pragma unroll
  for (int own = 0; own < Any::OWN; ++own) {
    int unit = Any::first_unit() + own * Any::WARPS;
    if (unit >= Any::UNITS) break;
    int i = unit % Any::DOWN * 16 + g, j = unit / Any::DOWN * 8 + 2 * t;
    Real upper = f(i, j, own, 0) + f(i, j + 1, own, 1);
    Real lower = f(i + 8, j, own, 2) + f(i + 8, j + 1, own, 3);
#pragma unroll
    for (int bits = 1; bits < 4; bits <<= 1) {
      upper += __shfl_xor_sync(EVERY_LANE, upper, bits);
      lower += __shfl_xor_sync(EVERY_LANE, lower, bits);
    }
    if (t == 0) {
      own_sums[i] += upper;
      own_sums[i + 8] += lower;
    }
  }
}

// The sum over warps of what `add_row_sums` left of a row.
template <class Any>
__device__ __forceinline__ Real row_sum(const Real* sums, int row) {
  Real total = Real(0);
  for (int warp = 0; warp < Any::WARPS; ++warp) total += sums[warp * Any::DOWN * 16 + row];
  return total;
}
