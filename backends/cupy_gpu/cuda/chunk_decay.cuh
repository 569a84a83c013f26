// Decay factors inside a chunk, and the gradient of the log-decays that made them.
//
// With b_t the sum of the log-decays up to and including token t of the chunk,
//     between(t, j) = e^(b_t - b_j)     since[t] = e^b_t     until[j] = e^(b_end - b_j)
// Sums and their differences are taken in double: they can be large where a difference is not.
#pragma once
#include "chunk.cuh"

struct Decay {
  double* sums;
  Real *since, *until;
  __device__ __forceinline__ Real between(int t, int j) const {
    return exp(Real(sums[t] - sums[j]));
  }
  __device__ __forceinline__ Real whole() const { return since[ROWS - 1]; }
};

__device__ __forceinline__ Decay take_decay(Arena& arena) {
  double* sums = arena.take<double>(ROWS);
  Real* since = arena.take<Real>(ROWS);
  return {sums, since, arena.take<Real>(ROWS)};
}

// By the first warp, from the log-decay f(t) of each row t. Read after a barrier.
template <class F>
__device__ __forceinline__ void set_decay(const Decay& decay, F f) {
  int lane = threadIdx.x;
  if (lane >= 32) return;
  double total = 0;
  for (int first = 0; first < ROWS; first += 32) {
    int t = first + lane;
    double sum = t < ROWS ? f(t) : Real(0);
    for (int by = 1; by < 32; by *= 2) {
      double earlier = __shfl_up_sync(EVERY_LANE, sum, by);
      if (lane >= by) sum += earlier;
    }
    sum += total;
    if (t < ROWS) {
      decay.sums[t] = sum;
      decay.since[t] = exp(Real(sum));
    }
    total = __shfl_sync(EVERY_LANE, sum, 31);
  }
  __syncwarp();
  for (int t = lane; t < ROWS; t += 32) decay.until[t] = exp(Real(total - decay.sums[t]));
}

// From log_decay (B, T, H), or none; what is behind the chunk's tokens decays nothing.
__device__ __forceinline__ void set_decay(const Decay& decay, const Real* log_decay,
                                          const Chunk& chunk, const Sizes& sizes) {
  set_decay(decay, [&](int t) {
    if (!log_decay || t >= chunk.count) return Real(0);
    return log_decay[chunk.token(sizes) + (long long)t * sizes.heads];
  });
}

// Where the factors of a chunk were used, each entry times its gradient. Every entry carries its
// factor, so nothing of order one cancels where decays are tiny. `pairs` is zero from the diagonal.
struct DecayUse {
  Real *pairs, *since, *until;  // (ROWS, ROW_APART), (ROWS), (ROWS)
};

// The gradient of each log-decay, the sum over all factors that contain it:
//     out_i = sum_{t >= i > j} pairs_tj + sum_{t >= i} since_t + sum_{j < i} until_j + whole
// Begins with a barrier; overwrites `pairs`.
__device__ __forceinline__ void log_decay_gradient(const DecayUse& use, Real whole, Real* out,
                                                   const Chunk& chunk, const Sizes& sizes) {
  __syncthreads();
  for (int j = threadIdx.x; j < ROWS; j += THREADS) {
    Real below = Real(0);
    for (int t = ROWS - 1; t > j; --t) {
      below += use.pairs[t * ROW_APART + j];
      use.pairs[t * ROW_APART + j] = below;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < chunk.count; i += THREADS) {
    Real sum = whole;
    for (int j = 0; j < i; ++j) sum += use.pairs[i * ROW_APART + j] + use.until[j];
    for (int t = i; t < ROWS; ++t) sum += use.since[t];
    out[chunk.token(sizes) + (long long)i * sizes.heads] = sum;
  }
}
