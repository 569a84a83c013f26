// Sums along the rows of a product that lies in registers.
#pragma once
#include "chunk.cuh"

constexpr int ROW_PARTS = 16 * (THREADS / 32);

// out[i] = sum over j of f(i, j, number), for the ROWS rows of a tile; `scratch` has ROW_PARTS
// numbers. Barriers inside and after: what was written before is seen, out may be read at once.
template <class T, class F>
__device__ __forceinline__ void row_sums(T& tile, F f, Real* scratch, Real* out) {
  static_assert(T::WARPS % T::DOWN == 0, "a warp's units lie in the same rows");
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, row = warp % T::DOWN * 16 + (lane >> 2);
  Real sums[2] = {Real(0), Real(0)};
  tile.each([&](int i, int j, Real& number) { sums[i & 8 ? 1 : 0] += f(i, j, number); });
  for (int half = 0; half < 2; ++half) {
    sums[half] += __shfl_xor_sync(EVERY_LANE, sums[half], 1);
    sums[half] += __shfl_xor_sync(EVERY_LANE, sums[half], 2);
    if ((lane & 3) == 0) scratch[warp / T::DOWN * ROWS + row + 8 * half] = sums[half];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < ROWS; i += THREADS) {
    Real sum = Real(0);
    for (int part = 0; part < T::WARPS / T::DOWN; ++part) sum += scratch[part * ROWS + i];
    out[i] = sum;
  }
  __syncthreads();
}

// f(row, column, a number of one tile, the number of another at the same place).
template <class T, class F>
__device__ __forceinline__ void each_two(T& tile, T& other, F f) {
  int n = 0;
  tile.each([&](int i, int j, Real& number) {
    f(i, j, number, other.x[n / 4][n % 4]);
    ++n;
  });
}
