// What each token of a chunk reads of what each token of it wrote: with `left` and `right` as in
// `channel.cuh` and D the factors between two tokens,
//
//     A_lr[t][j] = sum over channels of left_l[t] D[t][j] right_r[j],   j <= t (l = 0), j < t (l = 1)
//
// Inside a sub-chunk four threads follow what a token wrote through the later tokens' decays;
// between sub-chunks it is a matrix product of aged operands. Blocks above the diagonal are not
// filled, and never read.
#pragma once
#include "channel.cuh"

struct Pairs {
  Real* of[PAIRS][PAIRS];  // A_lr, CHUNK rows of PAIR_ROW numbers; null where it is not wanted
};

__device__ __forceinline__ Pairs take_pairs(Arena& arena, bool wanted[PAIRS][PAIRS]) {
  Pairs pairs;
#pragma unroll
  for (int l = 0; l < PAIRS; ++l)
#pragma unroll
    for (int r = 0; r < PAIRS; ++r)
      pairs.of[l][r] = wanted[l][r] ? arena.take<Real>(CHUNK * PAIR_ROW) : nullptr;
  return pairs;
}

__device__ __forceinline__ Real quad_sum(Real value) {
  value += __shfl_xor_sync(EVERY_LANE, value, 1);
  return value + __shfl_xor_sync(EVERY_LANE, value, 2);
}

// The blocks on the diagonal, from operands that are not aged yet. No barrier.
__device__ __forceinline__ void pairs_inside(Operands o, Pairs pairs) {
  constexpr int PART = KEYS / 4;
  for (int n = threadIdx.x; n < 4 * CHUNK * PAIRS; n += THREADS) {
    int r = n / (4 * CHUNK), j = n / 4 % CHUNK, part = n % 4, first = j / SUB * SUB;
    Real ratio[PART];
#pragma unroll
    for (int i = 0; i < PART; ++i) ratio[i] = o.right[r][j * KEY_ROW + part + 4 * i];
    for (int t = first; t < first + SUB; ++t) {
      const Real* decay = o.decay + t * KEY_ROW + part;
      if constexpr (PAIRS == 2)
        if (pairs.of[1][r]) {
          Real sum = 0;
#pragma unroll
          for (int i = 0; i < PART; ++i) sum += o.left[1][t * KEY_ROW + part + 4 * i] * ratio[i];
          sum = quad_sum(sum);
          if (part == 0) pairs.of[1][r][t * PAIR_ROW + j] = t > j ? sum : Real(0);
        }
      if (t > j) {
#pragma unroll
        for (int i = 0; i < PART; ++i) ratio[i] *= decay[4 * i];
      }
      if (!pairs.of[0][r]) continue;
      Real sum = 0;
#pragma unroll
      for (int i = 0; i < PART; ++i) sum += o.left[0][t * KEY_ROW + part + 4 * i] * ratio[i];
      sum = quad_sum(sum);
      if (part == 0) pairs.of[0][r][t * PAIR_ROW + j] = t >= j ? sum : Real(0);
    }
  }
}

struct BlocksBefore {  // for units below the diagonal blocks, of a result whose columns are tokens
  __device__ __forceinline__ Range operator()(int row, int column) const {
    return {0, column / SUB < row / SUB ? KEYS : 0};
  }
};

// The blocks below the diagonal, from aged operands. No barrier.
__device__ __forceinline__ void pairs_between(Operands o, Pairs pairs) {
  if (SUBS == 1) return;
#pragma unroll
  for (int l = 0; l < PAIRS; ++l)
#pragma unroll
    for (int r = 0; r < PAIRS; ++r) {
      Real* out = pairs.of[l][r];
      if (!out) continue;
      const Real *left = o.left[l], *right = o.right[r];
      Blocks<CHUNK, CHUNK, THREADS> a;
      a.clear();
      a.product([&](int t, int i) { return left[t * KEY_ROW + i]; },
                [&](int i, int j, int row) {
                  return right[j * KEY_ROW + i] * o.gap(row / SUB, j / SUB, i);
                },
                BlocksBefore{}, KEYS);
      a.each([&](int t, int j, Real sum) {
        if (j / SUB < t / SUB) out[t * PAIR_ROW + j] = sum;
      });
    }
}

// Loads and ages the operands, and fills the pairs that are wanted. Ends with a barrier.
__device__ __forceinline__ void load_pairs(Operands o, Pairs pairs, Inputs x, Place at,
                                           Shape shape) {
  load_operands(o, x, at, shape);
  __syncthreads();
  pairs_inside(o, pairs);
  __syncthreads();
  age(o);
  pairs_between(o, pairs);
  __syncthreads();
}
