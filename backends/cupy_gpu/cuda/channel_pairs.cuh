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

// A row of left times the ratio of one channel in four, which all four get.
template <int PART>
__device__ __forceinline__ Real quad_product(const Real* left, const Real (&ratio)[PART]) {
  Real sum = 0;
#pragma unroll
  for (int i = 0; i < PART; ++i) sum += left[4 * i] * ratio[i];
  return quad_sum(sum);
}

// What token j wrote, in four threads; out: its columns of A_0r and A_1r, null if not wanted.
__device__ __forceinline__ void follow(Operands o, const Real* right, Real* out, Real* before_out,
                                       int j, int part) {
  constexpr int PART = KEYS / 4;
  int first = j / SUB * SUB;
  Real ratio[PART];
#pragma unroll
  for (int i = 0; i < PART; ++i) ratio[i] = right[j * KEY_ROW + part + 4 * i];
  for (int t = first; t < first + SUB; ++t) {
    int at = t * KEY_ROW + part;
    if (PAIRS == 2 && before_out) {
      Real sum = quad_product(o.left[PAIRS - 1] + at, ratio);
      if (part == 0) before_out[t * PAIR_ROW + j] = t > j ? sum : Real(0);
    }
    if (t > j) {
#pragma unroll
      for (int i = 0; i < PART; ++i) ratio[i] *= o.decay[at + 4 * i];
    }
    if (!out) continue;
    Real sum = quad_product(o.left[0] + at, ratio);
    if (part == 0) out[t * PAIR_ROW + j] = t >= j ? sum : Real(0);
  }
}

// The blocks on the diagonal, from operands that are not aged yet. No barrier.
__device__ __forceinline__ void pairs_inside(Operands o, Pairs pairs) {
  for (int n = threadIdx.x; n < 4 * CHUNK * PAIRS; n += THREADS) {
    bool first = n < 4 * CHUNK;
    follow(o, first ? o.right[0] : o.right[PAIRS - 1],
           first ? pairs.of[0][0] : pairs.of[0][PAIRS - 1],
           first ? pairs.of[PAIRS - 1][0] : pairs.of[PAIRS - 1][PAIRS - 1], n / 4 % CHUNK, n % 4);
  }
}

struct BlocksBefore {  // for units below the diagonal blocks, of a result whose columns are tokens
  __device__ __forceinline__ Range operator()(int row, int column) const {
    return {0, column / SUB < row / SUB ? KEYS : 0};
  }
};

// The blocks below the diagonal, from aged operands. No barrier.
__device__ __forceinline__ void pairs_between(Operands o, Pairs pairs) {
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
