// Gradients of a chunk's inputs, from the states before it and the gradients of those after it: sums
// over values (`channel_values.cuh`), then, channel by channel,
//
//     dL_l = sum_r dA_lr R_r + D_l S^T      dR_r = sum_l dA_lr^T L_l + U_r dS'^T
#pragma once
#include "channel_values.cuh"

struct Gradients {
  Token *q, *k, *v;
  Real* log_decay;
  Token *kk, *a;
};

// From sums over values to gradients of aged operands, which take the operands' place.
__device__ __forceinline__ void operand_gradients(Operands o, Pairs d_pairs, Sums& sums,
                                                  Passing passing) {
  __syncthreads();
#pragma unroll
  for (int l = 0; l < PAIRS; ++l)
#pragma unroll
    for (int r = 0; r < PAIRS; ++r) {
      Real* to = d_pairs.of[l][r];
      sums.pairs[l][r].each([&](int t, int j, Real d) {
        if (j / SUB <= t / SUB) to[t * PAIR_ROW + j] = j + l <= t ? d : Real(0);
      });
    }
  if (threadIdx.x < KEYS) passing.whole[threadIdx.x] = sums.whole;
  __syncthreads();
#pragma unroll
  for (int pair = 0; pair < PAIRS; ++pair) {
    left_gradient(o, d_pairs, pair, sums.left[pair], passing);
    right_gradient(o, d_pairs, pair, sums.right[pair], passing);
  }
  __syncthreads();
#pragma unroll
  for (int pair = 0; pair < PAIRS; ++pair) {
    sums.left[pair].each([&](int t, int i, Real d) { o.left[pair][t * KEY_ROW + i] = d; });
    sums.right[pair].each([&](int j, int i, Real d) { o.right[pair][j * KEY_ROW + i] = d; });
  }
  __syncthreads();
}

// One channel of a sub-chunk, to the gradients of the inputs.
__device__ __forceinline__ void channel_gradient(Operands o, Pairs d_pairs, Passing passing,
                                                 Inputs x, Gradients out, Place at, Shape shape,
                                                 int sub, int i) {
  auto of = [&](auto* array) { return tokens_of(array, at, shape, shape.keys, 0); };
  auto q = of(x.q), k = of(x.k), kk = of(PAIRS == 2 ? x.kk : x.q), a = of(PAIRS == 2 ? x.a : x.q);
  auto log_decay = of(x.log_decay);
  int first = sub * SUB;
  Real* d_right[PAIRS];
  Channel c;
  Real past = passing_by(passing, sub, i);
#pragma unroll
  for (int pair = 0; pair < PAIRS; ++pair) d_right[pair] = o.right[pair] + first * KEY_ROW + i;
#pragma unroll
  for (int t = 0; t < SUB; ++t) {
    c.decay[t] = exp(log_decay.get(first + t, i));
    c.d_log_decay[t] = past;
    c.left[0][t] = q.get(first + t, i);
    if (PAIRS == 2) c.left[PAIRS - 1][t] = kk.get(first + t, i);
#pragma unroll
    for (int l = 0; l < PAIRS; ++l) c.d_left[l][t] = o.left[l][(first + t) * KEY_ROW + i];
  }
  auto right = [&](int r, int j) {
    return r == 0 ? k.get(first + j, i) : kk.get(first + j, i) * a.get(first + j, i);
  };
  unage_left(c);
  unage_right(c, right, d_right);
  for (int j = 0; j < SUB; ++j)
#pragma unroll
    for (int r = 0; r < PAIRS; ++r) {
      const Real* pairs[PAIRS];
#pragma unroll
      for (int l = 0; l < PAIRS; ++l) pairs[l] = d_pairs.of[l][r] + first * PAIR_ROW + first + j;
      d_right[r][j * KEY_ROW] += written_inside(c, pairs, j, right(r, j));
    }
#pragma unroll
  for (int t = 0; t < SUB; ++t) {
    of(out.q).put(first + t, i, c.d_left[0][t]);
    of(out.k).put(first + t, i, d_right[0][t * KEY_ROW]);
    of(out.log_decay).put(first + t, i, c.d_log_decay[t]);
    if (PAIRS == 1) continue;
    Real d = d_right[PAIRS - 1][t * KEY_ROW];
    of(out.a).put(first + t, i, c.left[PAIRS - 1][t] * d);
    of(out.kk).put(first + t, i, c.d_left[PAIRS - 1][t] + a.get(first + t, i) * d);
  }
}

// By all threads of the block; states and their gradients lie at `index`.
__device__ __forceinline__ void chunk_gradients(Inputs x, Written written, Given given,
                                                Gradients out, Place at, long long index,
                                                Shape shape) {
  MC_ARENA(arena);
  bool all[PAIRS][PAIRS];
#pragma unroll
  for (int l = 0; l < PAIRS; ++l)
#pragma unroll
    for (int r = 0; r < PAIRS; ++r) all[l][r] = true;
  Pairs d_pairs = take_pairs(arena, all), pairs = {};
#pragma unroll
  for (int l = 0; l < PAIRS; ++l) pairs.of[l][0] = d_pairs.of[l][0];
  Real* inverse = PAIRS == 2 ? arena.take<Real>(CHUNK * PAIR_ROW) : nullptr;
  Passing passing = take_passing(arena);
  Operands o = operands(arena, QUERIES | RECALLING | KEYS_WRITTEN | REMOVED);
  load_pairs(o, pairs, x, at, shape);
  rewind(arena, o);
  ValueTiles tiles = take_values(arena);
  if (PAIRS == 2)
    load<CHUNK, CHUNK>(inverse, PAIR_ROW,
                       Matrix<const Real>{given.inverse + index * CHUNK * CHUNK, CHUNK, CHUNK, CHUNK});
  Sums sums;
  clear(sums);
  for (int value = 0; value < shape.values; value += VALUES) {
    load_values(tiles, written, given, at, index, shape, value);
    if (PAIRS == 2) recalled_gradient(inverse, tiles.asked[PAIRS - 1]);
    add_values(sums, tiles, o);
    value_gradient(o, pairs, tiles, tokens_of(out.v, at, shape, shape.values, value));
    __syncthreads();
  }
  operand_gradients(o, d_pairs, sums, passing);
  for (int n = threadIdx.x; n < SUBS * KEYS; n += THREADS)
    channel_gradient(o, d_pairs, passing, x, out, at, shape, n / KEYS, n % KEYS);
}
