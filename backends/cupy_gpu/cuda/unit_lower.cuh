// Inverse of a unit lower triangular matrix in shared memory.
//
// Diagonal blocks of 16 rows are inverted by substitution, a thread for each column; then blocks
// are merged two by two, by matrix products:
//
//     (A 0; L B)^-1 = (A^-1 0; -B^-1 L A^-1 B^-1)
#pragma once
#include "chunk.cuh"

constexpr int UNIT = 16;

// (I + L)^-1 of a block from `first`, whose rows lie ROW_APART apart; no barrier.
__device__ __forceinline__ void invert_column(const Real* lower, Real* inverse, int first, int j) {
  Real column[UNIT];
#pragma unroll
  for (int i = 0; i < UNIT; ++i) {
    Real sum = i == j ? Real(1) : Real(0);
#pragma unroll
    for (int m = 0; m < i; ++m) sum -= lower[(first + i) * ROW_APART + first + m] * column[m];
    column[i] = sum;
    inverse[(first + i) * ROW_APART + first + j] = sum;
  }
}

// The block below the diagonal of each pair of inverted blocks of SIZE rows; `scratch` is (ROWS,
// ROWS). Ends with a barrier.
template <int SIZE>
__device__ __forceinline__ void merge_blocks(const Real* lower, Real* inverse, Real* scratch) {
  if constexpr (SIZE < ROWS) {
    Tile<SIZE, SIZE, THREADS> block;
    for (int a = 0; a < ROWS; a += 2 * SIZE) {
      int b = a + SIZE;
      block.clear();
      block.product([&](int i, int m) { return lower[(b + i) * ROW_APART + a + m]; },
                    [&](int m, int j) { return inverse[(a + m) * ROW_APART + a + j]; }, SIZE);
      block.each([&](int i, int j, Real x) { scratch[(b + i) * ROW_APART + j] = x; });
      __syncthreads();
      block.clear();
      block.product([&](int i, int m) { return -inverse[(b + i) * ROW_APART + b + m]; },
                    [&](int m, int j) { return scratch[(b + m) * ROW_APART + j]; }, SIZE);
      block.each([&](int i, int j, Real x) { inverse[(b + i) * ROW_APART + a + j] = x; });
    }
    __syncthreads();
    merge_blocks<2 * SIZE>(lower, inverse, scratch);
  }
}

// inverse = (I + L)^-1, zeros above the diagonal; only what is below L's diagonal is read. Begins
// and ends with a barrier.
__device__ __forceinline__ void invert_unit_lower(const Real* lower, Real* inverse, Real* scratch) {
  for (int i = threadIdx.x; i < ROWS * ROWS; i += THREADS)
    inverse[i / ROWS * ROW_APART + i % ROWS] = Real(0);
  __syncthreads();
  for (int j = threadIdx.x; j < ROWS; j += THREADS)
    invert_column(lower, inverse, j / UNIT * UNIT, j % UNIT);
  __syncthreads();
  merge_blocks<UNIT>(lower, inverse, scratch);
}
