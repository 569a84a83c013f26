// Causal softmax attention backwards: weights w are made anew from the rows' log-sums.
//
//   d_logits = w (dy . v - delta),  delta_t = dy_t . y_t
// One kernel goes along the keys of a block of queries, one along the queries of a block of keys:
// every gradient is summed by one block, in order.
#pragma once
#include "attention_blocks.cuh"

// delta_t of a block's queries into shared and global memory, a warp for 16 of them.
__device__ __forceinline__ void make_deltas(Matrix<const Token> y, const Real* dy, Real* to,
                                            Real* all, int heads) {
  int lane = threadIdx.x & 31, above = rows_above();
  for (int i = above; i < above + 16; ++i) {
    Real sum = Real(0);
    for (int j = lane; j < y.columns; j += 32) sum += y.get(i, j) * dy[i * V_APART + j];
    sum += __shfl_xor_sync(EVERY_LANE, sum, 16);
    sum += __shfl_xor_sync(EVERY_LANE, sum, 8);
    sum += __shfl_xor_sync(EVERY_LANE, sum, 4);
    sum = row_sum(sum);
    if (lane == 0) {
      to[i] = sum;
      if (i < y.rows) all[(long long)i * heads] = sum;
    }
  }
}

// dq (B, T, H, K), and delta (B, T, H). Grid: blocks of queries, heads, rows.
extern "C" __global__ void __launch_bounds__(128, BACKWARD_BLOCKS)
attention_queries(const Token* q, const Token* k, const Token* v, const Token* y,
                  const Real* log_sums, const Token* dy, Token* dq, Real* deltas, int tokens,
                  int positions, int heads, int keys, int values, int reach) {
  MC_ARENA(arena);
  Sight sight{Shape{tokens, positions, heads, keys, values, reach}};
  int t = (gridDim.x - 1 - blockIdx.x) * SIDE, above = rows_above();
  Real* own_q = arena.take<Real>(SIDE * K_APART);
  Real* own_dy = arena.take<Real>(SIDE * V_APART);
  Real* block_k = arena.take<Real>(BACKWARD * K_APART);
  Real* block_v = arena.take<Real>(BACKWARD * V_APART);
  Real* own_delta = arena.take<Real>(SIDE);
  int key = sight.first_key(t), end = sight.end_key(t);
  ask_rows<SIDE, KEYS>(own_q, head_rows(q, t, tokens, keys, heads));
  ask_rows<SIDE, VALUES>(own_dy, head_rows(dy, t, tokens, values, heads));
  ask_rows<BACKWARD, VALUES>(block_v, head_rows(v, key, positions, values, heads));
  arrived();
  make_deltas(head_rows(y, t, tokens, values, heads), own_dy, own_delta,
              deltas + ((long long)blockIdx.z * tokens + t) * heads + blockIdx.y, heads);
  Real scale = Real(1) / sqrt(Real(keys)), log_sum[2], delta[2];
  __syncthreads();
  for (int i = 0; i < 2; ++i) {
    int at = above + (threadIdx.x & 31) / 4 + 8 * i;
    log_sum[i] = head_number(log_sums, t + at, tokens, heads);
    delta[i] = own_delta[at];
  }
  Strip<KEYS> sum;
  sum.clear();
  for (; key < end; key += BACKWARD) {
    arrived();  // values, and all threads: they are done with the keys before
    ask_rows<BACKWARD, KEYS>(block_k, head_rows(k, key, positions, keys, heads));
    Strip<BACKWARD> logits, d_weights;
    multiply<VALUES>(d_weights, own_dy, block_v);
    arrived();  // keys
    if (int next = key + BACKWARD; next < end)
      ask_rows<BACKWARD, VALUES>(block_v, head_rows(v, next, positions, values, heads));
    multiply<KEYS>(logits, own_q, block_k);
    bool whole = sight.whole(t, SIDE, key, BACKWARD);
    int at = 0;
    logits.each([&](int i, int j, Real& x) {
      bool seen = whole || sight.sees(t + above + i, key + j);
      Real weight = seen ? exp(scale * x - log_sum[i / 8 & 1]) : Real(0);
      x = weight * (d_weights.x[at / 4][at % 4] - delta[i / 8 & 1]);
      ++at;
    });
    gather(sum, logits, block_k);
  }
  store(sum, head_rows(dq, t, tokens, keys, heads), scale);
}

// dk (B, M, H, K) and dv (B, M, H, V). Grid: blocks of keys, heads, rows.
extern "C" __global__ void __launch_bounds__(128, BACKWARD_BLOCKS)
attention_keys(const Token* q, const Token* k, const Token* v, const Real* log_sums,
               const Token* dy, const Real* deltas, Token* dk, Token* dv, int tokens,
               int positions, int heads, int keys, int values, int reach) {
  MC_ARENA(arena);
  Sight sight{Shape{tokens, positions, heads, keys, values, reach}};
  int key = blockIdx.x * SIDE, above = rows_above();
  Real* own_k = arena.take<Real>(SIDE * K_APART);
  Real* own_v = arena.take<Real>(SIDE * V_APART);
  Real* block_q = arena.take<Real>(BACKWARD * K_APART);
  Real* block_dy = arena.take<Real>(BACKWARD * V_APART);
  Real* log_sum = arena.take<Real>(BACKWARD);
  Real* delta = arena.take<Real>(BACKWARD);
  int t = sight.first_query(key), end = sight.end_query(key);
  if (t < end) {
    ask_rows<SIDE, KEYS>(own_k, head_rows(k, key, positions, keys, heads));
    ask_rows<SIDE, VALUES>(own_v, head_rows(v, key, positions, values, heads));
    ask_rows<BACKWARD, VALUES>(block_dy, head_rows(dy, t, tokens, values, heads));
  }
  Real scale = Real(1) / sqrt(Real(keys));
  Strip<KEYS> sum_k;
  Strip<VALUES> sum_v;
  sum_k.clear();
  sum_v.clear();
  for (; t < end; t += BACKWARD) {
    arrived();  // gradients, and all threads: they are done with the queries before
    ask_rows<BACKWARD, KEYS>(block_q, head_rows(q, t, tokens, keys, heads));
    if (threadIdx.x < BACKWARD) {
      log_sum[threadIdx.x] = head_number(log_sums, t + threadIdx.x, tokens, heads);
      delta[threadIdx.x] = head_number(deltas, t + threadIdx.x, tokens, heads);
    }
    Strip<BACKWARD> weights, d_logits;
    multiply<VALUES>(d_logits, own_v, block_dy);
    arrived();  // queries
    multiply<KEYS>(weights, own_k, block_q);
    bool whole = sight.whole(t, BACKWARD, key, SIDE);
    weights.each([&](int i, int j, Real& x) {
      bool seen = whole || sight.sees(t + j, key + above + i);
      x = seen ? exp(scale * x - log_sum[j]) : Real(0);
    });
    gather(sum_v, weights, block_dy);
    __syncthreads();
    if (int next = t + BACKWARD; next < end)
      ask_rows<BACKWARD, VALUES>(block_dy, head_rows(dy, next, tokens, values, heads));
    int at = 0;
    d_logits.each([&](int, int j, Real& x) {
      x = weights.x[at / 4][at % 4] * (x - delta[j]);
      ++at;
    });
    gather(sum_k, d_logits, block_q);
  }
  store(sum_k, head_rows(dk, key, positions, keys, heads), scale);
  store(sum_v, head_rows(dv, key, positions, values, heads), Real(1));
}
