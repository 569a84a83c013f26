// Gates of routed memories, made where they are used: no array over tokens and checkpoints.
//
//   w_ti = e^(l_ti - peak_t) share_t,    l_ti = <u_t, context_i> / sqrt(K)
//
// peak_t is the largest logit of token t and 1 / share_t the sum of the exponentials.
#pragma once
#include "columns.cuh"

// What is kept of each of a block's tokens, in shared memory; 0 where there is none.
struct Softmax {
  const Real *peak, *share;
};

__device__ __forceinline__ void load_scalars(Real* to, const Real* from, Rows rows) {
  for (int i = threadIdx.x; i < ROWS; i += THREADS)
    to[i] = i < rows.count ? from[rows.scalar(i)] : Real(0);
}

// Gates of a tile of columns, as `add_answers` wants them.
struct SoftmaxGates {
  Softmax softmax;
  Rows rows;
  Sight seen;
  Columns<const Real> contexts;
  const Real* u;  // (ROWS, K)
  Real* tile;     // (COLUMNS, K), left filled with the contexts
  int keys;
  __device__ __forceinline__ Real gate(int i, int c, Real logit) const {
    return seen.sees(i, c) ? exp(logit - softmax.peak[i]) * softmax.share[i] : Real(0);
  }
  __device__ __forceinline__ void operator()(int column, int n, Real* weights) const {
    load_vectors(tile, contexts, rows, column, n, keys);
    __syncthreads();
    Real scale = Real(1) / sqrt(Real(keys));
    products(u, tile, rows.busy()).each([&](int i, int c, Real& x) {
      weights[i * PAIR_ROW + c] = gate(i, column + c, x * scale);
    });
  }
};

// A running softmax over tiles of logits, for the two tokens of a thread.
struct Sums {
  Real top[2], total[2];
  __device__ __forceinline__ void start(int half, Real online, bool outside) {
    top[half] = outside ? Real(LOWEST) : online;
    total[half] = outside ? Real(0) : Real(1);
  }
  // Logits that are not seen are LOWEST.
  __device__ __forceinline__ void add(Pairs& logits) {
    Real high[2] = {top[0], top[1]}, more[2] = {0, 0};
    logits.each([&](int i, int, Real& x) { high[i >> 3 & 1] = max(high[i >> 3 & 1], x); });
    for (int half = 0; half < 2; ++half) {
      high[half] = row_max(high[half]);
      total[half] *= exp(top[half] - high[half]);
      top[half] = high[half];
    }
    logits.each([&](int i, int, Real& x) {
      if (x > Real(LOWEST)) more[i >> 3 & 1] += exp(x - top[i >> 3 & 1]);
    });
    for (int half = 0; half < 2; ++half) total[half] += row_sum(more[half]);
  }
};
