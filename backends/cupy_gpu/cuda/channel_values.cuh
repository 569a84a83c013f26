// Gradients of a chunk that are sums over values, tile by tile: with D_0 = dY and, with removal, D_1 the
// gradient of what is recalled,
//
//     dA_lr = lower(D_l U_r^T)      D_l S^T of left operands      U_r dS'^T of right operands
//     dV = sum_l A_l0^T D_l + until . (K dS')
#pragma once
#include "channel_answers.cuh"
#include "channel_gradient.cuh"

struct Given {
  const Real *states, *d_states;
  const Token* d_reads;
  const Real *d_removed, *inverse;  // dU_1, and (I + A_11)^-1; null without removal
};
struct ValueTiles {
  Real *written[PAIRS], *asked[PAIRS], *state, *d_state;  // U_r, D_l, S, dS'
};
struct Sums {
  Blocks<CHUNK, CHUNK, THREADS> pairs[PAIRS][PAIRS];
  KeyRows left[PAIRS], right[PAIRS];
  Real whole;  // of channel threadIdx.x
};

__device__ __forceinline__ void clear(Sums& sums) {
#pragma unroll
  for (int l = 0; l < PAIRS; ++l) {
    sums.left[l].clear();
    sums.right[l].clear();
#pragma unroll
    for (int r = 0; r < PAIRS; ++r) sums.pairs[l][r].clear();
  }
  sums.whole = 0;
}

struct NotAfter {  // for units at or below the diagonal blocks
  int depth;
  __device__ __forceinline__ Range operator()(int row, int column) const {
    return {0, column / SUB <= row / SUB ? depth : 0};
  }
};

__device__ __forceinline__ ValueTiles take_values(Arena& arena) {
  ValueTiles tiles;
#pragma unroll
  for (int l = 0; l < PAIRS; ++l) tiles.written[l] = arena.take<Real>(CHUNK * VALUE_ROW);
#pragma unroll
  for (int l = 0; l < PAIRS; ++l) tiles.asked[l] = arena.take<Real>(CHUNK * VALUE_ROW);
  tiles.state = arena.take<Real>(KEYS * VALUE_ROW);
  tiles.d_state = arena.take<Real>(KEYS * VALUE_ROW);
  return tiles;
}

// Ends with a barrier.
__device__ __forceinline__ void load_values(ValueTiles tiles, Written written, Given given,
                                            Place at, long long index, Shape shape, int value) {
  auto of = [&](auto* x) { return tokens_of(x, at, shape, shape.values, value); };
  load<CHUNK, VALUES>(tiles.written[0], VALUE_ROW, of(written.v));
  load<CHUNK, VALUES>(tiles.asked[0], VALUE_ROW, of(given.d_reads));
  if (PAIRS == 2) {
    load<CHUNK, VALUES>(tiles.written[PAIRS - 1], VALUE_ROW, of(written.removed));
    load<CHUNK, VALUES>(tiles.asked[PAIRS - 1], VALUE_ROW, of(given.d_removed));
  }
  load<KEYS, VALUES>(tiles.state, VALUE_ROW, state_of(given.states, index, shape, value));
  load<KEYS, VALUES>(tiles.d_state, VALUE_ROW, state_of(given.d_states, index, shape, value));
  __syncthreads();
}

// D_1 = -(I + A_11)^-T dU_1, in place. Ends with a barrier.
__device__ __forceinline__ void recalled_gradient(const Real* inverse, Real* asked) {
  Blocks<CHUNK, VALUES, THREADS> d;
  d.clear();
  d.product([&](int j, int t) { return inverse[t * PAIR_ROW + j]; },
            [&](int t, int c, int) { return asked[t * VALUE_ROW + c]; }, From{CHUNK}, CHUNK);
  __syncthreads();
  d.each([&](int j, int c, Real number) { asked[j * VALUE_ROW + c] = -number; });
  __syncthreads();
}

// One tile of values: its part of all sums.
__device__ __forceinline__ void add_values(Sums& sums, ValueTiles x, Operands o) {
#pragma unroll
  for (int l = 0; l < PAIRS; ++l) {
    const Real *asked = x.asked[l], *written = x.written[l];
#pragma unroll
    for (int r = 0; r < PAIRS; ++r)
      sums.pairs[l][r].product([&](int t, int c) { return asked[t * VALUE_ROW + c]; },
                               [&](int c, int j, int) { return x.written[r][j * VALUE_ROW + c]; },
                               NotAfter{VALUES}, VALUES);
    sums.left[l].product([&](int t, int c) { return asked[t * VALUE_ROW + c]; },
                         [&](int c, int i, int) { return x.state[i * VALUE_ROW + c]; },
                         Whole{VALUES}, VALUES);
    sums.right[l].product([&](int j, int c) { return written[j * VALUE_ROW + c]; },
                          [&](int c, int i, int) { return x.d_state[i * VALUE_ROW + c]; },
                          Whole{VALUES}, VALUES);
  }
  int i = threadIdx.x;
  if (i >= KEYS) return;
  Real sum = 0;
  for (int c = 0; c < VALUES; ++c) sum += x.state[i * VALUE_ROW + c] * x.d_state[i * VALUE_ROW + c];
  sums.whole += o.gap(SUBS, -1, i) * sum;
}

// A tile of dV.
__device__ __forceinline__ void value_gradient(Operands o, Pairs pairs, ValueTiles x,
                                               Matrix<Token> to) {
  Blocks<CHUNK, VALUES, THREADS> dv;
  dv.clear();
#pragma unroll
  for (int l = 0; l < PAIRS; ++l)
    dv.product([&](int j, int t) { return pairs.of[l][0][t * PAIR_ROW + j]; },
               [&](int t, int c, int) { return x.asked[l][t * VALUE_ROW + c]; }, From{CHUNK}, CHUNK);
  dv.product([&](int j, int i) { return o.until(0, j, i); },
             [&](int i, int c, int) { return x.d_state[i * VALUE_ROW + c]; }, Whole{KEYS}, KEYS);
  dv.each([&](int j, int c, Real number) { to.put(j, c, number); });
}
