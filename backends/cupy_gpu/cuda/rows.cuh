// The tokens that a block works on, a row of a batch and a head at a time, and what they may see.
//
// Compiled with -DMC_ROWS (tokens of a block) and -DMC_COLUMNS (checkpoints that it weighs at a time);
// a warp has 16 of the tokens.
#pragma once
#include "load.cuh"
#include "tile.cuh"

constexpr int ROWS = MC_ROWS, THREADS = 2 * MC_ROWS, COLUMNS = MC_COLUMNS;
constexpr int RESIDENT = 2;  // blocks of a multiprocessor, of kernels whose shared memory lets them be
constexpr int KEYS = MC_KEYS, KEY_ROW = padded(KEYS), PAIR_ROW = padded(COLUMNS);

// Tokens begin <= t < begin + count of row b and head h of arrays (B, T, H, width).
struct Rows {
  int b, h, begin, count, tokens, heads;
  __device__ __forceinline__ long long scalar(int i) const {
    return (static_cast<long long>(b) * tokens + begin + i) * heads + h;
  }
  template <class T>
  __device__ __forceinline__ Matrix<T> of(T* x, int width) const {
    return {x + scalar(0) * width, static_cast<long long>(heads) * width, count, width};
  }
  // Whether any of the 16 tokens of this thread's warp is real.
  __device__ __forceinline__ bool busy() const { return int(threadIdx.x >> 5) * 16 < count; }
};

__device__ __forceinline__ Rows rows_from(int begin, int tokens, int heads) {
  return {int(blockIdx.z), int(blockIdx.y), begin, max(0, min(ROWS, tokens - begin)), tokens, heads};
}

// The upper of the two tokens whose numbers a thread holds in a tile; the lower comes 8 later.
__device__ __forceinline__ int upper_row() {
  return int(threadIdx.x >> 5) * 16 + (int(threadIdx.x & 31) >> 2);
}
__device__ __forceinline__ bool leads_row() { return (threadIdx.x & 3) == 0; }

// Sum, or maximum, over the four threads that share a row of a tile.
__device__ __forceinline__ Real row_sum(Real x) {
  x += __shfl_xor_sync(EVERY_LANE, x, 1);
  return x + __shfl_xor_sync(EVERY_LANE, x, 2);
}
__device__ __forceinline__ Real row_max(Real x) {
  x = max(x, __shfl_xor_sync(EVERY_LANE, x, 1));
  return max(x, __shfl_xor_sync(EVERY_LANE, x, 2));
}

// Which checkpoints each of a block's tokens may read: first <= c < last, in shared memory.
struct Sight {
  const int *first, *last;
  int low, high;  // of all of them together
  __device__ __forceinline__ bool sees(int i, int c) const { return first[i] <= c && c < last[i]; }
};

// Fills what `sight_of` reads; the caller needs a barrier between the two.
__device__ __forceinline__ void load_sight(int* shared, const int* first, const int* last, Rows rows) {
  for (int i = threadIdx.x; i < ROWS; i += blockDim.x) {
    long long at = static_cast<long long>(rows.b) * rows.tokens + rows.begin + i;
    shared[i] = i < rows.count ? first[at] : 0;
    shared[ROWS + i] = i < rows.count ? last[at] : 0;
  }
}

__device__ __forceinline__ Sight sight_of(const int* shared) {
  Sight seen = {shared, shared + ROWS, 0x7fffffff, 0};
  for (int i = 0; i < ROWS; ++i) {
    if (seen.first[i] >= seen.last[i]) continue;
    seen.low = min(seen.low, seen.first[i]);
    seen.high = max(seen.high, seen.last[i]);
  }
  if (seen.high == 0) seen.low = 0;
  return seen;
}
