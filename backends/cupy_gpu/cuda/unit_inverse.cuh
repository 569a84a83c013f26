// Inverse of a unit lower triangular matrix in shared memory.
//
// Diagonal blocks of 16 rows are inverted by substitution, a thread for each column; then blocks
// are merged two by two, by matrix products:
//
//     (A 0; L B)^-1 = (A^-1 0; -B^-1 L A^-1 B^-1)
#pragma once
#include "blocks.cuh"

// Column j of the inverse of a diagonal block, whose rows lie APART apart.
template <int APART>
__device__ __forceinline__ void invert_column(const Real* lower, Real* inverse, int j) {
  Real column[SUB];
#pragma unroll
  for (int i = 0; i < SUB; ++i) {
    Real sum = i == j ? Real(1) : Real(0);
#pragma unroll
    for (int m = 0; m < i; ++m) sum -= lower[i * APART + m] * column[m];
    column[i] = sum;
    inverse[i * APART + j] = sum;
  }
}

// The blocks below pairs of inverted blocks of SIZE rows. Ends with a barrier.
template <int SIZE, int ROWS, int APART, int THREADS>
__device__ __forceinline__ void merge_blocks(const Real* lower, Real* inverse) {
  if constexpr (SIZE < ROWS) {
    for (int a = 0; a < ROWS; a += 2 * SIZE) {
      const Real* corner = lower + (a + SIZE) * APART + a;
      const Real *upper = inverse + a * APART + a, *below = upper + SIZE * APART + SIZE;
      Real* to = inverse + (a + SIZE) * APART + a;
      Blocks<SIZE, SIZE, THREADS> x;
      x.clear();
      x.product([&](int i, int m) { return corner[i * APART + m]; },
                [&](int m, int j, int) { return upper[m * APART + j]; }, Whole{SIZE}, SIZE);
      x.each([&](int i, int j, Real number) { to[i * APART + j] = number; });
      __syncthreads();
      x.clear();
      x.product([&](int i, int m) { return -below[i * APART + m]; },
                [&](int m, int j, int) { return to[m * APART + j]; }, UpTo{}, SIZE);
      __syncthreads();
      x.each([&](int i, int j, Real number) { to[i * APART + j] = number; });
    }
    __syncthreads();
    merge_blocks<2 * SIZE, ROWS, APART, THREADS>(lower, inverse);
  }
}

// inverse = (I + L)^-1, up to the diagonal blocks; only what is below L's diagonal is read. Ends
// with a barrier.
template <int ROWS, int APART, int THREADS>
__device__ __forceinline__ void invert_unit_lower(const Real* lower, Real* inverse) {
  for (int n = threadIdx.x; n < ROWS; n += THREADS) {
    int first = n / SUB * SUB * (APART + 1);
    invert_column<APART>(lower + first, inverse + first, n % SUB);
  }
  __syncthreads();
  merge_blocks<SUB, ROWS, APART, THREADS>(lower, inverse);
}
