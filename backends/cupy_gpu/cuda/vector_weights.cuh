// Recurrent weights that stay on the multiprocessor for all steps of a scan: what of a thread's
// share does not fit in its registers lies in shared memory.
#pragma once
#include "load_wide.cuh"
#include "vector_rows.cuh"

// Rows of vectors in shared memory lie so much more apart, that four of them hit different banks.
constexpr int BANKS_APART = 8;

// Quads of each thread: a block of 128 channels has no more than 128 registers for one.
#ifndef MC_HELD
#define MC_HELD 16
#endif

// A thread multiplies QUADS quads of each row's vector with COLUMNS columns.
template <int QUADS, int COLUMNS>
struct Weights {
  static constexpr int ALL = QUADS * COLUMNS, HELD = ALL < MC_HELD ? ALL : MC_HELD;
  Quad held[HELD];
  Quad* stored;

  // `weight(quad, part of it, column)` of this thread's. Ends without a barrier.
  template <class F>
  __device__ __forceinline__ void load(Arena& arena, F weight) {
    stored = arena.take<Quad>((ALL - HELD) * THREADS) + threadIdx.x;
#pragma unroll
    for (int at = 0; at < ALL; ++at) {
      Quad all;
      for (int part = 0; part < 4; ++part) all.x[part] = weight(at / COLUMNS, part, at % COLUMNS);
      if (at < HELD)
        held[at < HELD ? at : 0] = all;
      else
        stored[(at - HELD) * THREADS] = all;
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
      for (int c = 0, at = q * COLUMNS; c < COLUMNS; ++c, ++at)
        weight[c] = at < HELD ? held[at < HELD ? at : 0] : stored[(at - HELD) * THREADS];
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
