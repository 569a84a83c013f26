// Answers of a chunk, all values, tile by tile: with U_0 = V and, with removal, U_1 what is taken away,
//
//     Y = sum_r A_0r U_r + since . (Q S)
#pragma once
#include "channel_pairs.cuh"

struct Written {
  const Token* v;
  const Real* removed;  // U_1; null without removal
};

// By all threads of the block; `state` lies at `index` of `states`.
__device__ __forceinline__ void chunk_answers(Inputs x, Written written, const Real* states,
                                              Token* reads, Place at, long long index, Shape shape) {
  MC_ARENA(arena);
  bool wanted[PAIRS][PAIRS] = {};
#pragma unroll
  for (int r = 0; r < PAIRS; ++r) wanted[0][r] = true;
  Pairs pairs = take_pairs(arena, wanted);
  Operands o = operands(arena, QUERIES | KEYS_WRITTEN | REMOVED);
  load_pairs(o, pairs, x, at, shape);
  rewind(arena, o);
  Real *values[PAIRS], *state = arena.take<Real>(KEYS * VALUE_ROW);
#pragma unroll
  for (int r = 0; r < PAIRS; ++r) values[r] = arena.take<Real>(CHUNK * VALUE_ROW);
  for (int value = 0; value < shape.values; value += VALUES) {
    load<CHUNK, VALUES>(values[0], VALUE_ROW, tokens_of(written.v, at, shape, shape.values, value));
    if (PAIRS == 2)
      load<CHUNK, VALUES>(values[PAIRS - 1], VALUE_ROW,
                          tokens_of(written.removed, at, shape, shape.values, value));
    load<KEYS, VALUES>(state, VALUE_ROW, state_of(states, index, shape, value));
    __syncthreads();
    Blocks<CHUNK, VALUES, THREADS> y;
    y.clear();
#pragma unroll
    for (int r = 0; r < PAIRS; ++r)
      y.product([&](int t, int j) { return pairs.of[0][r][t * PAIR_ROW + j]; },
                [&](int j, int c, int) { return values[r][j * VALUE_ROW + c]; }, UpTo{}, CHUNK);
    y.product([&](int t, int i) { return o.since(0, t, i); },
              [&](int i, int c, int) { return state[i * VALUE_ROW + c]; }, Whole{KEYS}, KEYS);
    auto to = tokens_of(reads, at, shape, shape.values, value);
    y.each([&](int t, int c, Real number) { to.put(t, c, number); });
    __syncthreads();
  }
}
