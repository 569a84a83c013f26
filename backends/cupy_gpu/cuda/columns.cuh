// Checkpoints, or their contexts: those that came in with a state, then those of this call.
#pragma once
#include "rows.cuh"

// (B, cached, H, size) followed, column by column, by (B, own, H, size).
template <class T>
struct Columns {
  T *cached, *own;
  int cached_count, own_count, heads, size;
  __device__ __forceinline__ T* at(int b, int c, int h) const {
    bool came = c < cached_count;
    int count = came ? cached_count : own_count, place = came ? c : c - cached_count;
    return (came ? cached : own) +
           ((static_cast<long long>(b) * count + place) * heads + h) * size;
  }
};

// A vector of each of n columns from `column` on, into COLUMNS rows of shared memory, zeros behind.
// Its entries begin at `offset` and lie `stride` apart. No barrier.
__device__ __forceinline__ void load_vectors(Real* to, Columns<const Real> from, Rows rows, int column,
                                             int n, int width, int offset = 0, int stride = 1) {
  for (int at = threadIdx.x; at < COLUMNS * KEYS; at += blockDim.x) {
    int c = at / KEYS, k = at % KEYS;
    bool real = c < n && k < width;
    to[c * KEY_ROW + k] = real ? from.at(rows.b, column + c, rows.h)[offset + k * stride] : Real(0);
  }
}

typedef Tile<ROWS, COLUMNS, THREADS> Pairs;

// <x_i, vector_c> of every token and column in shared memory.
__device__ __forceinline__ Pairs products(const Real* x, const Real* vectors, bool busy) {
  Pairs pairs;
  pairs.clear();
  if (busy)
    pairs.product([&](int i, int k) { return x[i * KEY_ROW + k]; },
                  [&](int k, int c) { return vectors[c * KEY_ROW + k]; }, KEYS);
  return pairs;
}
