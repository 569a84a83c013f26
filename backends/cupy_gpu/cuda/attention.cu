// Causal softmax attention forward: for a block of queries, the running maximum and sum of a row
// while blocks of keys pass by, so no matrix of all weights exists (Rabe and Staats 2021; Dao et
// al. 2022). Backward makes the weights anew from the logarithm of each row's sum.
#include "attention_blocks.cuh"

// A warp's 16 queries on their way along the keys: rows g and g + 8 of a lane.
struct Softmax {
  Real top[2], total[2];
  Strip<VALUES> y;

  __device__ __forceinline__ void begin() {
    for (int i = 0; i < 2; ++i) {
      top[i] = Real(LOWEST);
      total[i] = Real(0);
    }
    y.clear();
  }

  // Logits, LOWEST where nothing is seen, become weights relative to the maximum so far.
  __device__ __forceinline__ void weigh(Strip<FORWARD>& logits) {
    Real before[2] = {top[0], top[1]};
    logits.each([&](int i, int, Real x) { top[i / 8 & 1] = max(top[i / 8 & 1], x); });
    for (int i = 0; i < 2; ++i) {
      top[i] = row_max(top[i]);
      Real shrink = exp(before[i] - top[i]);
      total[i] *= shrink;
#pragma unroll
      for (int unit = 0; unit < Strip<VALUES>::UNITS; ++unit)
        for (int part = 0; part < 2; ++part) y.x[unit][2 * i + part] *= shrink;
    }
    logits.each([&](int i, int, Real& x) {
      x = x == Real(LOWEST) ? Real(0) : exp(x - top[i / 8 & 1]);
      total[i / 8 & 1] += x;
    });
  }

  __device__ __forceinline__ void divide() {
    for (int i = 0; i < 2; ++i) {
      total[i] = row_sum(total[i]);
#pragma unroll
      for (int unit = 0; unit < Strip<VALUES>::UNITS; ++unit)
        for (int part = 0; part < 2; ++part) y.x[unit][2 * i + part] /= total[i];
    }
  }

  // To (B, T, H); the block's queries begin at t.
  __device__ __forceinline__ void store_log_sums(Real* to, int t, Shape shape) const {
    t += rows_above() + (threadIdx.x & 31) / 4;
    for (int i = 0; i < 2; ++i, t += 8)
      if (t < shape.tokens && threadIdx.x % 4 == 0)
        to[((long long)blockIdx.z * shape.tokens + t) * shape.heads + blockIdx.y] =
            top[i] + log(total[i]);
  }
};

extern "C" __global__ void __launch_bounds__(128, FORWARD_BLOCKS)
attention(const Token* q, const Token* k, const Token* v, Token* y, Real* log_sums, int tokens,
          int positions, int heads, int keys, int values, int reach) {
  MC_ARENA(arena);
  Shape shape{tokens, positions, heads, keys, values, reach};
  Sight sight{shape};
  int t = (gridDim.x - 1 - blockIdx.x) * SIDE, above = rows_above();  // longest first
  Real* own = arena.take<Real>(SIDE * K_APART);
  Real* block_k = arena.take<Real>(FORWARD * K_APART);
  Real* block_v = arena.take<Real>(FORWARD * V_APART);
  int key = sight.first_key(t), end = sight.end_key(t);
  ask_rows<SIDE, KEYS>(own, head_rows(q, t, tokens, keys, heads));
  ask_rows<FORWARD, KEYS>(block_k, head_rows(k, key, positions, keys, heads));
  Real scale = Real(1) / sqrt(Real(keys));
  Softmax rows;
  rows.begin();
  for (; key < end; key += FORWARD) {
    arrived();  // keys, and all threads: they are done with the values before
    ask_rows<FORWARD, VALUES>(block_v, head_rows(v, key, positions, values, heads));
    Strip<FORWARD> weights;
    multiply<KEYS>(weights, own, block_k);
    bool whole = sight.whole(t, SIDE, key, FORWARD);
    weights.each([&](int i, int j, Real& x) {
      x = whole || sight.sees(t + above + i, key + j) ? scale * x : Real(LOWEST);
    });
    rows.weigh(weights);
    arrived();  // values
    if (int next = key + FORWARD; next < end)
      ask_rows<FORWARD, KEYS>(block_k, head_rows(k, next, positions, keys, heads));
    gather(rows.y, weights, block_v);
  }
  rows.divide();
  rows.store_log_sums(log_sums, t, shape);
  store(rows.y, head_rows(y, t, tokens, values, heads), Real(1));
}

#include "attention_backward.cuh"
