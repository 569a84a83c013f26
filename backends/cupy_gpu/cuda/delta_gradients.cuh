// What the corrections of delta rules add to the gradients of keys, strengths and log-decays.
//
// With R = (I + diag(beta) G)^-T dX the gradient of diag(beta) N, and T = -(R X^T) below the
// diagonal, where G = K K^T . D:
//
//     dK += F K + F^T K - beta since . (R S^T),    F = diag(beta) T . D
//     dbeta = rowsum(T . G) + <R, V> - since . <K, R S^T>
#pragma once
#include "chunk_gradients.cuh"
#include "delta_chunk.cuh"

struct DeltaSums {
  Tile<ROWS, ROWS, THREADS> coupling;  // R X^T
  Tile<ROWS, KEYS, THREADS> carried;   // R S^T
};

struct DeltaRows {
  Real *beta, *coupled, *carried;  // (ROWS) each
};

__device__ __forceinline__ DeltaRows take_delta_rows(Arena& arena) {
  Real* beta = arena.take<Real>(ROWS);
  Real* coupled = arena.take<Real>(ROWS);
  return {beta, coupled, arena.take<Real>(ROWS)};
}

// Adds a tile of values whose R lies in `at.dy`, X and S as for `add_values`.
__device__ __forceinline__ void add_corrections(const GradientBlocks& at, bool fresh,
                                                DeltaSums& sums) {
  auto r = [&](int t, int v) { return at.dy[t * VALUE_APART + v]; };
  sums.coupling.product(r, [&](int v, int j) { return at.v[j * VALUE_APART + v]; }, VALUES);
  if (!fresh)
    sums.carried.product(r, [&](int v, int i) { return at.s[i * VALUE_APART + v]; }, VALUES);
}

// After `weigh_state_terms`: N met the state too.
__device__ __forceinline__ void weigh_errors(const GradientBlocks& at, const DeltaRows& rows,
                                             DeltaSums& delta, GradientSums& sums) {
  row_sums(delta.carried, [&](int t, int i, Real& number) {
    number *= at.decay.since[t];
    return number * at.k[t * KEY_APART + i];
  }, at.scratch, rows.carried);
  each_two(sums.dk, delta.carried,
           [&](int t, int, Real& dk, Real carried) { dk -= rows.beta[t] * carried; });
  for (int t = threadIdx.x; t < ROWS; t += THREADS)
    at.use.since[t] -= rows.beta[t] * rows.carried[t];
}

// After `split_pairs`: T . D in place of S, and where D was used. Ends with a barrier.
__device__ __forceinline__ void split_coupling(const GradientBlocks& at, const DeltaRows& rows,
                                               bool decays, DeltaSums& delta, GradientSums& sums) {
  delta.coupling.each([&](int t, int j, Real number) {
    at.s[t * ROW_APART + j] = j < t ? -number * at.decay.between(t, j) : Real(0);
  });
  sums.pairs.clear();
  sums.pairs.product([&](int t, int i) { return at.k[t * KEY_APART + i]; },
                     [&](int i, int j) { return at.k[j * KEY_APART + i]; }, KEYS);
  row_sums(sums.pairs, [&](int t, int j, Real& number) {
    Real used = number * at.s[t * ROW_APART + j];
    if (decays) at.use.pairs[t * ROW_APART + j] += rows.beta[t] * used;
    return used;
  }, at.scratch, rows.coupled);
}

// What the coupling adds to dK: F K and F^T K.
__device__ __forceinline__ void add_coupling(const GradientBlocks& at, const DeltaRows& rows,
                                             GradientSums& sums) {
  sums.dk.product([&](int t, int j) {
    return rows.beta[t] * at.s[t * ROW_APART + j] + rows.beta[j] * at.s[j * ROW_APART + t];
  }, [&](int j, int i) { return at.k[j * KEY_APART + i]; }, ROWS);
}
