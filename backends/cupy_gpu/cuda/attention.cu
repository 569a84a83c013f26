// Causal softmax attention forward: for a block of queries, the running maximum and sum of every row
// while blocks of keys pass by, so no matrix of all weights exists (Rabe and Staats 2021; Dao et al.
// 2022). Backward recomputes the weights from the logarithm of each row's sum.
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
};

extern "C" __global__ void __launch_bounds__(128)
attention(const Token* q, const Token* k, const Token* v, Token* y, Real* log_sums, int tokens,
          int positions, int heads, int keys, int values, int reach) {
  MC_ARENA(arena);
  Shape shape{tokens, positions, heads, keys, values, reach};
  Sight sight{shape};
  int t = (gridDim.x - 1 - blockIdx.x) * SIDE, above = rows_above();  // longest first
  Real* own = arena.take<Real>(SIDE * K_APART);
  Real* block_k = arena.take<Real>(FORWARD * K_APART);
  Real* block_v = arena.take<Real>(FORWARD * V_APART);
  load_wide<SIDE, KEYS, THREADS>(own, K_APART, head_rows(q, t, tokens, keys, heads));
  Real scale = Real(1) / sqrt(Real(keys));
  Softmax rows;
  rows.begin();
  for (int key = sight.first_key(t), end = sight.end_key(t); key < end; key += FORWARD) {
    __syncthreads();
    load_wide<FORWARD, KEYS, THREADS>(block_k, K_APART, head_rows(k, key, positions, keys, heads));
    load_wide<FORWARD, VALUES, THREADS>(block_v, V_APART, head_rows(v, key, positions, values, heads));
    __syncthreads();
    Strip<FORWARD> weights;
    weights.clear();
    weights.product([&](int i, int d) { return own[(above + i) * K_APART + d]; },
                    [&](int d, int j) { return block_k[j * K_APART + d]; }, KEYS);
    bool whole = sight.whole(t, SIDE, key, FORWARD);
    weights.each([&](int i, int j, Real& x) {
      x = whole || sight.sees(t + above + i, key + j) ? scale * x : Real(LOWEST);
    });
    rows.weigh(weights);
    rows.y.product(weights, [&](int j, int d) { return block_v[j * V_APART + d]; });
  }
  int row = blockIdx.y / heads, head = blockIdx.y % heads;
  for (int i = 0; i < 2; ++i) {
    Real total = row_sum(rows.total[i]);
    int at = t + above + (threadIdx.x & 31) / 4 + 8 * i;
    if (at < tokens && threadIdx.x % 4 == 0)
      log_sums[((long long)row * tokens + at) * heads + head] = rows.top[i] + log(total);
#pragma unroll
    for (int unit = 0; unit < Strip<VALUES>::UNITS; ++unit)
      for (int part = 0; part < 2; ++part) rows.y.x[unit][2 * i + part] /= total;
  }
  store(rows.y, head_rows(y, t, tokens, values, heads), Real(1));
}

#include "attention_backward.cuh"
