// What removal needs of a chunk and not of the state before it; see `rwkv7_scan.cu`.
#pragma once
#include "channel_pairs.cuh"
#include "unit_inverse.cuh"

// W, and (I + A_11)^-1 if `inverse` is not null.
__device__ __forceinline__ void recalling_keys(Operands o, const Real* inverse, Matrix<Real> keys,
                                               Real* inverses) {
  Blocks<CHUNK, KEYS, THREADS> w;
  w.clear();
  w.product([&](int t, int s) { return inverse[t * PAIR_ROW + s]; },
            [&](int s, int i, int) { return o.since(1, s, i); }, UpTo{}, CHUNK);
  w.each([&](int t, int i, Real number) { keys.put(t, i, number); });
  if (!inverses) return;
  for (int n = threadIdx.x; n < CHUNK * CHUNK; n += THREADS) {
    int t = n / CHUNK, j = n % CHUNK;
    inverses[n] = j / SUB <= t / SUB ? inverse[t * PAIR_ROW + j] : Real(0);
  }
}

// A tile of U = (I + A_11)^-1 A_10 V; `rows` holds V.
__device__ __forceinline__ void recalled_values(const Real* pairs, const Real* inverse, Real* rows,
                                                Matrix<Real> to) {
  Blocks<CHUNK, VALUES, THREADS> u;
  u.clear();
  u.product([&](int t, int j) { return pairs[t * PAIR_ROW + j]; },
            [&](int j, int c, int) { return rows[j * VALUE_ROW + c]; }, UpTo{}, CHUNK);
  __syncthreads();
  u.each([&](int t, int c, Real number) { rows[t * VALUE_ROW + c] = number; });
  __syncthreads();
  u.clear();
  u.product([&](int t, int j) { return inverse[t * PAIR_ROW + j]; },
            [&](int j, int c, int) { return rows[j * VALUE_ROW + c]; }, UpTo{}, CHUNK);
  u.each([&](int t, int c, Real number) { to.put(t, c, number); });
}

// A tile of A_01^T dY; `rows` holds dY.
__device__ __forceinline__ void read_gradient(const Real* pairs, const Real* rows, Matrix<Real> to) {
  Blocks<CHUNK, VALUES, THREADS> d;
  d.clear();
  d.product([&](int j, int t) { return pairs[t * PAIR_ROW + j]; },
            [&](int t, int c, int) { return rows[t * VALUE_ROW + c]; }, From{CHUNK}, CHUNK);
  d.each([&](int j, int c, Real number) { to.put(j, c, number); });
}
