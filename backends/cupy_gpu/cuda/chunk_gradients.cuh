// Gradients of a chunk's queries and keys, a tile of KEYS columns. With E = dY V^T . D:
//
//     dQ = E K + since . (dY S^T)        dK = E^T Q + until . (V dS'^T)
//
// and of its log-decays, from the same tile: those of all tiles add up.
#pragma once
#include "chunk_rows.cuh"
#include "chunk_answers.cuh"
#include "reduce.cuh"

// Shared memory: (ROWS, KEYS) q, k; (ROWS, VALUES) dy, v, also (ROWS, ROWS); (KEYS, VALUES) s, ds.
struct GradientBlocks {
  Decay decay;
  DecayUse use;
  Real *q, *k, *dy, *v, *s, *ds, *scratch;
};

// What is summed over the tiles of values.
struct GradientSums {
  Tile<ROWS, ROWS, THREADS> pairs;
  Tile<ROWS, KEYS, THREADS> dq, dk;
  Real whole;
};

constexpr int PAIR_BLOCK = larger(VALUE_BLOCK, ROW_BLOCK);

__device__ __forceinline__ GradientBlocks take_blocks(Arena& arena) {
  GradientBlocks at;
  at.decay = take_decay(arena);
  at.use.since = arena.take<Real>(ROWS);
  at.use.until = arena.take<Real>(ROWS);
  at.scratch = arena.take<Real>(ROW_PARTS);
  at.q = arena.take<Real>(KEY_BLOCK);
  at.k = arena.take<Real>(KEY_BLOCK);
  at.dy = arena.take<Real>(PAIR_BLOCK);
  at.v = at.use.pairs = arena.take<Real>(PAIR_BLOCK);
  at.s = arena.take<Real>(larger(STATE_BLOCK, ROW_BLOCK));
  at.ds = arena.take<Real>(STATE_BLOCK);
  return at;
}

__device__ __forceinline__ void clear(GradientSums& sums) {
  sums.pairs.clear();
  sums.dq.clear();
  sums.dk.clear();
  sums.whole = Real(0);
}

template <class Written>
__device__ __forceinline__ void ask_inner(const GradientBlocks& at, Matrix<const Token> dy,
                                          Matrix<const Written> v) {
  ask_values(at.dy, dy);
  ask_values(at.v, v);
}

// A tile of S, unless it is zero, and of dS'.
__device__ __forceinline__ void ask_states(const GradientBlocks& at, Real* state, Real* gradient,
                                           const Sizes& sizes, int key, int value) {
  ask_state(at.ds, state_tile(gradient, sizes, key, value));
  if (state) ask_state(at.s, state_tile(state, sizes, key, value));
}

// Adds a tile of values whose dY, V, S (unless it is zero) and dS' lie in shared memory.
__device__ __forceinline__ void add_values(const GradientBlocks& at, bool fresh,
                                           GradientSums& sums) {
  auto dy = [&](int t, int v) { return at.dy[t * VALUE_APART + v]; };
  auto v = [&](int t, int v) { return at.v[t * VALUE_APART + v]; };
  sums.pairs.product(dy, [&](int v, int j) { return at.v[j * VALUE_APART + v]; }, VALUES);
  sums.dk.product(v, [&](int v, int i) { return at.ds[i * VALUE_APART + v]; }, VALUES);
  if (fresh) return;
  sums.dq.product(dy, [&](int v, int i) { return at.s[i * VALUE_APART + v]; }, VALUES);
  for (int i = threadIdx.x; i < KEYS * VALUES; i += THREADS) {
    int place = i / VALUES * VALUE_APART + i % VALUES;
    sums.whole += at.s[place] * at.ds[place];
  }
}

// Factors of what met the state, and where they were used.
__device__ __forceinline__ void weigh_state_terms(const GradientBlocks& at, GradientSums& sums) {
  const Decay& decay = at.decay;
  row_sums(sums.dq, [&](int t, int i, Real& number) {
    number *= decay.since[t];
    return number * at.q[t * KEY_APART + i];
  }, at.scratch, at.use.since);
  row_sums(sums.dk, [&](int t, int i, Real& number) {
    number *= decay.until[t];
    return number * at.k[t * KEY_APART + i];
  }, at.scratch, at.use.until);
  sums.whole = decay.whole() * block_sum(sums.whole, at.scratch);
}

// E in place of dY, and Q K^T . E below the diagonal, where D was used, in place of V.
__device__ __forceinline__ void split_pairs(const GradientBlocks& at, bool decays,
                                            GradientSums& sums) {
  sums.pairs.each([&](int t, int j, Real number) {
    at.dy[t * ROW_APART + j] = j <= t ? number * at.decay.between(t, j) : Real(0);
  });
  if (!decays) return;
  sums.pairs.clear();
  sums.pairs.product([&](int t, int i) { return at.q[t * KEY_APART + i]; },
                     [&](int i, int j) { return at.k[j * KEY_APART + i]; }, KEYS);
  sums.pairs.each([&](int t, int j, Real number) {
    at.use.pairs[t * ROW_APART + j] = j < t ? number * at.dy[t * ROW_APART + j] : Real(0);
  });
}

// What the pairs add: E K and E^T Q.
__device__ __forceinline__ void add_pairs(const GradientBlocks& at, GradientSums& sums) {
  sums.dq.product([&](int t, int j) { return at.dy[t * ROW_APART + j]; },
                  [&](int j, int i) { return at.k[j * KEY_APART + i]; }, ROWS);
  sums.dk.product([&](int j, int t) { return at.dy[t * ROW_APART + j]; },
                  [&](int t, int i) { return at.q[t * KEY_APART + i]; }, ROWS);
}

__device__ __forceinline__ void store_keys(GradientSums& sums, Matrix<Token> dq, Matrix<Token> dk) {
  sums.dq.each([&](int t, int i, Real number) { dq.put(t, i, number); });
  sums.dk.each([&](int t, int i, Real number) { dk.put(t, i, number); });
}
