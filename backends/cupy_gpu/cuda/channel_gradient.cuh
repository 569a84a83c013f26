// Gradients of a chunk's operands and decays, given those of its pairs.
//
// With `d_left`, `d_right` the gradients of aged operands, the gradient of a token's log-decay is the
// sum over everything that passes it: from state to state, from state to reads at or after it, from
// writes before it to the state, from writes before it to reads at or after it. Each is a sum of
// products that carry the factor themselves, so nothing of order one cancels where decays are tiny.
#pragma once
#include "channel_pairs.cuh"

typedef Blocks<CHUNK, KEYS, THREADS> KeyRows;

// Gradients of left and right, in registers and then in shared memory.
struct Passing {
  Real* whole;    // KEYS: from state to state
  Real* onwards;  // SUBS rows of KEYS: from a sub-chunk's writes to the state
  Real* through;  // SUBS x SUBS rows of KEYS: past sub-chunk m to the reads of sub-chunk c, c > m
};

__device__ __forceinline__ Passing take_passing(Arena& arena) {
  Passing passing;
  passing.whole = arena.take<Real>(KEYS);
  passing.onwards = arena.take<Real>(SUBS * KEYS);
  passing.through = arena.take<Real>(SUBS * SUBS * KEYS);
  return passing;
}

struct Earlier {  // sub-chunk `sub`, for units of later ones
  int sub;
  __device__ __forceinline__ Range operator()(int row, int) const {
    return {sub * SUB, row / SUB > sub ? (sub + 1) * SUB : 0};
  }
};
struct Later {  // all sub-chunks after a unit's
  __device__ __forceinline__ Range operator()(int row, int) const { return {row + SUB, CHUNK}; }
};

// `d` holds what answers asked of the state, D_l S^T, and becomes the gradient of aged left_l.
__device__ __forceinline__ void left_gradient(Operands o, Pairs d_pairs, int l, KeyRows& d,
                                              Passing passing) {
  const Real* left = o.left[l];
  d.each([&](int t, int i, Real& number) { number *= o.gap(t / SUB, -1, i); });
  for (int sub = 0; sub < SUBS; ++sub) {
    d.column_sums([&](int t, int i) { return left[t * KEY_ROW + i]; },
                  [&](int row, int i, Real sum) {
                    Real* to = passing.through + (row / SUB * SUBS + sub) * KEYS + i;
                    if (row / SUB > sub) *to = l == 0 ? sum : *to + sum;
                  });
#pragma unroll
    for (int r = 0; r < PAIRS; ++r) {
      const Real *pairs = d_pairs.of[l][r], *right = o.right[r];
      d.product([&](int t, int j) { return pairs[t * PAIR_ROW + j]; },
                [&](int j, int i, int row) {
                  return right[j * KEY_ROW + i] * o.gap(row / SUB, j / SUB, i);
                },
                Earlier{sub}, CHUNK);
    }
  }
}

// `d` holds what the state got, U_r dS'^T, and becomes the gradient of aged right_r.
__device__ __forceinline__ void right_gradient(Operands o, Pairs d_pairs, int r, KeyRows& d,
                                               Passing passing) {
  const Real* right = o.right[r];
  d.each([&](int j, int i, Real& number) { number *= o.gap(SUBS, j / SUB, i); });
  d.column_sums([&](int j, int i) { return right[j * KEY_ROW + i]; },
                [&](int row, int i, Real sum) {
                  Real* to = passing.onwards + row / SUB * KEYS + i;
                  *to = r == 0 ? sum : *to + sum;
                });
#pragma unroll
  for (int l = 0; l < PAIRS; ++l) {
    const Real *pairs = d_pairs.of[l][r], *left = o.left[l];
    d.product([&](int j, int t) { return pairs[t * PAIR_ROW + j]; },
              [&](int t, int i, int row) {
                return left[t * KEY_ROW + i] * o.gap(t / SUB, row / SUB, i);
              },
              Later{}, CHUNK);
  }
}

// One channel of a sub-chunk, in one thread: operands as given, and their gradients so far.
struct Channel {
  Real left[PAIRS][SUB], decay[SUB];
  Real d_left[PAIRS][SUB], d_log_decay[SUB];
};

// What passes sub-chunk `sub` as a whole.
__device__ __forceinline__ Real passing_by(Passing passing, int sub, int channel) {
  Real sum = passing.whole[channel];
  for (int later = sub + 1; later < SUBS; ++later)
    sum += passing.through[(later * SUBS + sub) * KEYS + channel];
  for (int earlier = 0; earlier < sub; ++earlier) sum += passing.onwards[earlier * KEYS + channel];
  return sum;
}

// From the gradients of aged left operands to those of left, and what passes before their reads.
__device__ __forceinline__ void unage_left(Channel& c) {
  Real since[SUB], later = 0, sum = 1;
#pragma unroll
  for (int t = 0; t < SUB; ++t) {
    if (PAIRS == 2) c.d_left[PAIRS - 1][t] *= sum;
    sum *= c.decay[t];
    since[t] = sum;
  }
#pragma unroll
  for (int t = SUB - 1; t >= 0; --t) {
    c.d_left[0][t] *= since[t];
    later += c.left[0][t] * c.d_left[0][t];
    c.d_log_decay[t] += later;
    if (PAIRS == 2) later += c.left[PAIRS - 1][t] * c.d_left[PAIRS - 1][t];
  }
}

// Pairs inside a sub-chunk, of what token `j` wrote: adds to c's gradients; returns that of what was
// written. pairs[l]: gradients of A_lr at (first token of the sub-chunk, j).
__device__ __forceinline__ Real written_inside(Channel& c, const Real* const (&pairs)[PAIRS], int j,
                                               Real written) {
  Real ratio[SUB], d = 0;
#pragma unroll
  for (int t = 0; t < SUB; ++t) {
    if (t < j) continue;
    if (PAIRS == 2 && t > j) c.d_left[PAIRS - 1][t] += pairs[PAIRS - 1][t * PAIR_ROW] * written;
    if (t > j) written *= c.decay[t];
    ratio[t] = written;
    c.d_left[0][t] += pairs[0][t * PAIR_ROW] * written;
  }
#pragma unroll
  for (int t = SUB - 1; t >= 0; --t) {
    if (t < j) continue;
    d += pairs[0][t * PAIR_ROW] * c.left[0][t];
    if (t == j) continue;
    c.d_log_decay[t] += d * ratio[t];
    d *= c.decay[t];
    if (PAIRS == 2) d += pairs[PAIRS - 1][t * PAIR_ROW] * c.left[PAIRS - 1][t];
  }
  return d;
}

// What was written before each token and goes on to the state; d_right is unaged in place, in
// shared memory, where this thread's column begins at `d_right[r]`. right[r](j): operands as given.
template <class W>
__device__ __forceinline__ void unage_right(Channel& c, W right, Real* const (&d_right)[PAIRS]) {
  Real until[SUB], factor = 1, earlier = 0;
#pragma unroll
  for (int j = SUB - 1; j >= 0; --j) {
    until[j] = factor;
    factor *= c.decay[j];
  }
#pragma unroll
  for (int j = 0; j < SUB; ++j) {
    c.d_log_decay[j] += earlier;
#pragma unroll
    for (int r = 0; r < PAIRS; ++r) {
      Real d = d_right[r][j * KEY_ROW] * until[j];
      d_right[r][j * KEY_ROW] = d;
      earlier += right(r, j) * d;
    }
  }
}
