// Sums over rows of a matrix, in a fixed order: the same numbers give the same bits.
#include "base.cuh"

// out (columns,) = sum of parts (rows, columns); a block of 256 for 32 columns.
extern "C" __global__ void __launch_bounds__(256)
    column_sums(const Real* parts, Real* out, int rows, int columns) {
  MC_ARENA(arena);
  Real* sums = arena.take<Real>(256);
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, column = blockIdx.x * 32 + lane;
  Real total = Real(0);
  if (column < columns)
    for (int row = warp; row < rows; row += 8) total += parts[(long long)row * columns + column];
  sums[threadIdx.x] = total;
  __syncthreads();
  if (warp || column >= columns) return;
  for (int other = 1; other < 8; ++other) total += sums[other * 32 + lane];
  out[column] = total;
}

// out[places[g]] = sum of from[order[i]] over bounds[g] <= i < bounds[g + 1]; null: in order.
template <class T>
__device__ __forceinline__ void add_rows(const T* from, const int* order, const int* bounds,
                                         const int* places, Real* out, int width) {
  int column = blockIdx.y * blockDim.x + threadIdx.x, group = blockIdx.x;
  if (column >= width) return;
  Real total = Real(0);
  for (int i = bounds[group]; i < bounds[group + 1]; ++i)
    total += Real(from[(long long)(order ? order[i] : i) * width + column]);
  out[(long long)(places ? places[group] : group) * width + column] = total;
}

extern "C" __global__ void __launch_bounds__(128)
    sum_tokens(const Token* from, const int* order, const int* bounds, const int* places, Real* out,
               int width) {
  add_rows(from, order, bounds, places, out, width);
}

extern "C" __global__ void __launch_bounds__(128)
    sum_rows(const Real* from, const int* order, const int* bounds, const int* places, Real* out,
             int width) {
  add_rows(from, order, bounds, places, out, width);
}
