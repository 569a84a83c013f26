// What the kernels of a decoded token share: sizes, the books of a row, columns of a matrix.
//
// MC_LAW: 0 a token writes its value, 1 it writes its value's error. MC_DECAY_BY_HEAD: the decay is
// one number per head for all tokens. MC_WEIGHTS: 0 gates by content, 1 all one, 2 all alike,
// 3 fading with age. MC_TOP_K: checkpoints that are read, 0 for all.
#pragma once
#include "reduce.cuh"

constexpr int THREADS = 256;
constexpr int LANES = MC_VALUES < THREADS ? MC_VALUES : THREADS;  // columns at the same time
constexpr int PARTS = THREADS / LANES;                             // of the sum over rows
static_assert(MC_VALUES <= THREADS, "a block holds one row of the state");

struct Books {  // of a row of the batch
  int count, head, length, position;
};

// The slot of a checkpoint, the oldest being 0.
__device__ __forceinline__ int slot_of(Books books, int age, int slots) {
  return (books.head + age) % slots;
}

// Sum of every part's number for this thread's column, the same in every part. Needs PARTS * LANES
// numbers of shared memory, free again after the call; all threads must call it.
__device__ __forceinline__ Real column_total(Real own, Real* scratch) {
  int lane = threadIdx.x % LANES, part = threadIdx.x / LANES;
  if (part < PARTS) scratch[part * LANES + lane] = own;
  __syncthreads();
  Real total = Real(0);
  for (int p = 0; p < PARTS; ++p) total += scratch[p * LANES + lane];
  __syncthreads();
  return total;
}

// Sum over k < keys of f(k) for this thread's column.
template <class F>
__device__ __forceinline__ Real column_sum(int keys, Real* scratch, F f) {
  int part = threadIdx.x / LANES;
  Real own = Real(0);
  if (part < PARTS)
    for (int k = part; k < keys; k += PARTS) own += f(k);
  return column_total(own, scratch);
}

// Dot product of two vectors by one warp; every lane gets it.
__device__ __forceinline__ Real warp_dot(const Real* a, const Real* b, int size) {
  Real own = Real(0);
  for (int i = threadIdx.x & 31; i < size; i += 32) own += a[i] * b[i];
  return warp_sum(own);
}
