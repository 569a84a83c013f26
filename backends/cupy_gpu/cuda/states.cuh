// Checkpoints of matrix memories: S (K x V) each, in states whose rows may be longer.
//
// Compiled with -DMC_VALUES as well. A state is in shared memory SLAB of its rows at a time.
#pragma once
#include "columns.cuh"

constexpr int VALUES = MC_VALUES, SLAB = KEYS <= 64 ? KEYS : 32, SLABS = KEYS / SLAB;
constexpr int VALUE_ROW = padded(VALUES);
constexpr int PRODUCT_ROW = VALUES + 8;  // suits a matrix that is the right factor of a product
constexpr Real EPS = Real(1e-6);         // added to the divisor of an answer

// Answers are S^T q, divided by z . q + eps where z is the column behind S.
struct Memories {
  Columns<const Real> of;
  int stride, keys, values, divided;
  // Rows of the state of column c from `slab` * SLAB on. No barrier.
  __device__ __forceinline__ void load_slab(Real* to, int apart, Rows rows, int c, int slab) const {
    const Real* state = of.at(rows.b, c, rows.h) + slab * SLAB * stride;
    load<SLAB, VALUES>(to, apart, Matrix<const Real>{state, stride, keys - slab * SLAB, values});
  }
  __device__ __forceinline__ void load_divisors(Real* to, Rows rows, int column, int n) const {
    load_vectors(to, of, rows, column, n, keys, values, stride);
  }
};

// Gates that are there: (B, T, H, columns), or ones.
struct GivenGates {
  const Real* gates;
  Rows rows;
  Sight seen;
  int columns;
  __device__ __forceinline__ Real gate(int i, int c) const {
    if (!seen.sees(i, c)) return 0;
    return gates ? gates[rows.scalar(i) * columns + c] : Real(1);
  }
  __device__ __forceinline__ void operator()(int column, int n, Real* weights) const {
    for (int at = threadIdx.x; at < ROWS * COLUMNS; at += THREADS)
      weights[at / COLUMNS * PAIR_ROW + at % COLUMNS] = gate(at / COLUMNS, column + at % COLUMNS);
  }
};

// What turns the gates of a tile of columns into weights of S^T q.
struct Division {
  Real *vectors, *divisors;  // (COLUMNS, K) normalisers; (ROWS, COLUMNS) z . q + eps, 1 if unseen
  // Divides `weights` and fills `divisors`. Begins with a barrier, ends without.
  __device__ __forceinline__ void divide(Memories memories, Rows rows, Sight seen, int column, int n,
                                         const Real* q, Real* weights) const {
    memories.load_divisors(vectors, rows, column, n);
    __syncthreads();
    products(q, vectors, rows.busy()).each([&](int i, int c, Real& x) {
      Real divisor = seen.sees(i, column + c) ? x + EPS : Real(1);
      divisors[i * PAIR_ROW + c] = divisor;
      weights[i * PAIR_ROW + c] /= divisor;
    });
  }
};
