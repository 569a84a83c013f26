// Running means, or sums, of a segment's keys: contexts, and the online memory's logits.
//
//   r_t = (before + k_1 + ... + k_t) / n_t,     n_t its tokens so far, or 1 for sums
//   online_t = <u_t, r_t> / sqrt(K),            context_s = r at the segment's last token
#pragma once
#include "reduce.cuh"
#include "rows.cuh"

// The tokens of one segment, and how many came before them.
struct Segment {
  int s, begin, end, before;
  __device__ __forceinline__ Real divisor(int t, bool sums) const {
    return sums ? Real(1) : Real(t - begin + 1 + before);
  }
};

__device__ __forceinline__ Segment segment_of_block(const int* bounds, const int* offset, int segments) {
  int s = blockIdx.x, b = blockIdx.z;
  const int* here = bounds + b * (segments + 1) + s;
  return {s, here[0], here[1], s == 0 ? offset[b] : 0};
}

// Sums up to each token in place of its key; `running` (KEYS) goes on. Needs barriers around it.
__device__ __forceinline__ void accumulate(Real* keys, Real* running, int count) {
  for (int k = threadIdx.x; k < KEYS; k += blockDim.x) {
    Real sum = running[k];
    for (int t = 0; t < count; ++t) keys[t * KEY_ROW + k] = sum += keys[t * KEY_ROW + k];
    running[k] = sum;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    pool_keys(const Token* u, const Token* keys, const Real* before, const int* bounds,
              const int* offset, Real* contexts, Real* online, int tokens, int heads, int width,
              int segments, int sums) {
  MC_ARENA(arena);
  Real* running = arena.take<Real>(KEYS);
  Real* key = arena.take<Real>(ROWS * KEY_ROW);
  Segment segment = segment_of_block(bounds, offset, segments);
  int b = blockIdx.z, h = blockIdx.y, warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  for (int k = threadIdx.x; k < KEYS; k += blockDim.x)
    running[k] = segment.s == 0 && k < width ? before[(b * heads + h) * width + k] : Real(0);
  for (int begin = segment.begin; begin < segment.end; begin += ROWS) {
    Rows rows = rows_from(begin, segment.end, heads);
    rows.tokens = tokens;
    load<ROWS, KEYS>(key, KEY_ROW, rows.of(keys, width));
    __syncthreads();
    accumulate(key, running, rows.count);
    __syncthreads();
    for (int i = warp; i < rows.count; i += THREADS / 32) {
      Real part = 0;
      for (int k = lane; k < width; k += 32)
        part += Real(u[rows.scalar(i) * width + k]) * key[i * KEY_ROW + k];
      part = warp_sum(part) / (segment.divisor(begin + i, sums) * sqrt(Real(width)));
      if (lane == 0) online[rows.scalar(i)] = part;
    }
    __syncthreads();
  }
  Real divisor = segment.divisor(segment.end - 1, sums);
  Real* context = contexts + ((static_cast<long long>(b) * segments + segment.s) * heads + h) * width;
  for (int k = threadIdx.x; k < width; k += blockDim.x)
    context[k] = segment.begin < segment.end ? running[k] / divisor : Real(0);
}

// Adds to du; d_online is the gradient of <u_t, r_t>, d_contexts that of the segment's context.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    pool_keys_backward(const Token* u, const Token* keys, const Real* before, const int* bounds,
                       const int* offset, const Real* d_contexts, const Real* d_online, Token* du,
                       Token* dk, Real* d_before, int tokens, int heads, int width, int segments,
                       int sums) {
  Segment segment = segment_of_block(bounds, offset, segments);
  int b = blockIdx.z, h = blockIdx.y, begin = segment.begin, end = segment.end;
  const Real* d_context =
      d_contexts + ((static_cast<long long>(b) * segments + segment.s) * heads + h) * width;
  Rows rows = {b, h, 0, tokens, tokens, heads};
  for (int k = threadIdx.x; k < width; k += blockDim.x) {
    Real sum = segment.s == 0 ? before[(b * heads + h) * width + k] : Real(0), d_sum = 0;
    for (int t = begin; t < end; ++t) {
      long long at = rows.scalar(t) * width + k;
      sum += Real(keys[at]);
      du[at] = Token(Real(du[at]) + d_online[rows.scalar(t)] / segment.divisor(t, sums) * sum);
    }
    if (begin < end) d_sum = d_context[k] / segment.divisor(end - 1, sums);
    for (int t = end - 1; t >= begin; --t) {
      long long at = rows.scalar(t) * width + k;
      d_sum += d_online[rows.scalar(t)] / segment.divisor(t, sums) * Real(u[at]);
      dk[at] = Token(d_sum);
    }
    if (segment.s == 0) d_before[(b * heads + h) * width + k] = d_sum;
  }
}
