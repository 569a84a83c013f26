// Chains of chunks of delta rules, a tile of PASS columns of values: the state stays in shared
// memory. Forward, from U and W, the corrections X (in place of U) and the states:
//
//     X = U - W S        S' = since_end S + (until . K)^T X
//
// Backward, from A^T dY, W and (since . Q)^T dY, the gradient of X (in place of A^T dY) and of S:
//
//     dX = A^T dY + until . (K dS')        dS = since_end dS' + (since . Q)^T dY - W^T dX
#pragma once
#include "tile_stream.cuh"

constexpr int PASS = VALUES % 32 == 0 ? 32 : 16, PASS_APART = padded(PASS);

struct DeltaBlocks {
  Decay decay;
  Real *x, *state;      // (ROWS, PASS), (all keys, PASS)
  int all_keys, first;  // the first of the columns
};

__device__ __forceinline__ DeltaBlocks take_delta_blocks(Arena& arena, const Sizes& sizes) {
  DeltaBlocks at;
  at.decay = take_decay(arena);
  at.x = arena.take<Real>(ROWS * PASS_APART);
  at.all_keys = up(sizes.keys, KEYS);
  at.state = arena.take<Real>(at.all_keys * PASS_APART);
  at.first = blockIdx.z * PASS;
  return at;
}

// The columns of a state in memory, or zeros if it is null; no barrier.
__device__ __forceinline__ void load_columns(const DeltaBlocks& at, Real* from,
                                             const Sizes& sizes) {
  for (int k = 0; k < at.all_keys; k += KEYS) {
    Real* to = at.state + k * PASS_APART;
    if (from)
      load<KEYS, PASS>(to, PASS_APART, state_tile(from, sizes, k, at.first));
    else
      for (int i = threadIdx.x; i < KEYS * PASS_APART; i += THREADS) to[i] = Real(0);
  }
}

// X = f(t, X in memory, rows state), there and in shared memory; `rows` come from the stream.
template <class S, class F>
__device__ __forceinline__ void through_state(const DeltaBlocks& at, S& stream, Real* x, int n,
                                              const Sizes& sizes, F f) {
  Matrix<Real> to = stream.order.at(n).of(x, sizes, sizes.values, at.first);
  Tile<ROWS, PASS, THREADS> sums, given;
  sums.clear();
  given.each([&](int t, int v, Real& number) { number = to.near(t, v); });
  for (int k = 0; k < at.all_keys; k += KEYS) {
    const Real* rows = stream.next();
    if (k == 0) stream.decays(at.decay, n);
    sums.product([&](int t, int i) { return rows[t * KEY_APART + i]; },
                 [&](int i, int v) { return at.state[(k + i) * PASS_APART + v]; }, KEYS);
  }
  __syncthreads();
  each_two(sums, given, [&](int t, int v, Real sum, Real number) {
    number = f(t, number, sum);
    to.put(t, v, number);
    at.x[t * PASS_APART + v] = number;
  });
}

// state = since_end state + (factor . rows)^T X + more, in shared memory and at `to`.
template <class S, class F, class G>
__device__ __forceinline__ void into_state(const DeltaBlocks& at, S& stream, Real* to,
                                           const Sizes& sizes, F factor, G more) {
  for (int k = 0; k < at.all_keys; k += KEYS) {
    Matrix<Real> out = state_tile(to, sizes, k, at.first);
    Tile<KEYS, PASS, THREADS> sums, added;
    sums.clear();
    added.each([&](int i, int v, Real& number) { number = more(k, i, v); });
    const Real* rows = stream.next();
    sums.product([&](int i, int t) { return factor(t) * rows[t * KEY_APART + i]; },
                 [&](int t, int v) { return at.x[t * PASS_APART + v]; }, ROWS);
    each_two(sums, added, [&](int i, int v, Real sum, Real number) {
      Real& state = at.state[(k + i) * PASS_APART + v];
      state = at.decay.whole() * state + sum + number;
      out.put(i, v, state);
    });
  }
}
