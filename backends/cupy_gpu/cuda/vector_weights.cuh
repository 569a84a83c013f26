// Recurrent weights that stay on the multiprocessor for all steps of a scan: what of a thread's
// share does not fit in its registers lies in shared memory.
#pragma once
#include "vector_rows.cuh"

struct alignas(16) Quad {
  Real x[4];
};

constexpr int IN_REGISTERS = sizeof(Real) == 4 ? 64 : 32;  // numbers of each thread

// A thread multiplies QUADS quads of each row's vector with COLUMNS columns.
template <int QUADS, int COLUMNS>
struct Weights {
  static constexpr int FIT = IN_REGISTERS / (4 * COLUMNS), HELD = QUADS < FIT ? QUADS : FIT;
  Quad held[HELD][COLUMNS];
  Quad* stored;

  // `weight(quad, part of it, column)` of this thread's. Ends without a barrier.
  template <class F>
  __device__ __forceinline__ void load(Arena& arena, F weight) {
    stored = arena.take<Quad>((QUADS - HELD) * COLUMNS * THREADS) + threadIdx.x;
#pragma unroll
    for (int q = 0; q < QUADS; ++q)
#pragma unroll
      for (int c = 0; c < COLUMNS; ++c) {
        Quad all;
        for (int part = 0; part < 4; ++part) all.x[part] = weight(q, part, c);
        if (q < HELD)
          held[q < HELD ? q : 0][c] = all;
        else
          stored[((q - HELD) * COLUMNS + c) * THREADS] = all;
      }
  }

  // sums[column * ROWS + row] = this thread's share of vector . column, quads lying `apart`.
  __device__ __forceinline__ void product(const Quad* vectors, int length, int apart,
                                          Real (&sums)[COLUMNS * ROWS]) const {
#pragma unroll
    for (int i = 0; i < COLUMNS * ROWS; ++i) sums[i] = Real(0);
#pragma unroll
    for (int q = 0; q < QUADS; ++q) {
      Quad weight[COLUMNS];
#pragma unroll
      for (int c = 0; c < COLUMNS; ++c)
        weight[c] = q < HELD ? held[q < HELD ? q : 0][c] : stored[((q - HELD) * COLUMNS + c) * THREADS];
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        Quad part = vectors[r * length + q * apart];
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c)
#pragma unroll
          for (int i = 0; i < 4; ++i) sums[c * ROWS + r] += part.x[i] * weight[c].x[i];
      }
    }
  }
};
