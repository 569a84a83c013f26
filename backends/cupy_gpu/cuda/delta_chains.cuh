// Chains of chunks of delta rules, a tile of PASS columns of values: the state stays in shared
// memory. Forward, from U and W, the corrections X (in place of U) and the states:
//
//     X = U - W S        S' = since_end S + (until . K)^T X
//
// Backward, from A^T dY, W and (since . Q)^T dY, the gradient of X (in place of A^T dY) and of S:
//
//     dX = A^T dY + until . (K dS')        dS = since_end dS' + (since . Q)^T dY - W^T dX
#pragma once
#include "chunk_decay.cuh"

constexpr int PASS = VALUES % 32 == 0 ? 32 : 16, PASS_APART = padded(PASS);

struct DeltaInputs {
  const Token* k;
  const Real *log_decay, *w;
  Real* x;  // U, then X; or A^T dY, then dX
};

struct DeltaBlocks {
  Decay decay;
  Real *k, *w, *x, *state;  // (ROWS, KEYS) twice, (ROWS, PASS), (all keys, PASS)
  int all_keys;
};

__device__ __forceinline__ DeltaBlocks take_delta_blocks(Arena& arena, const Sizes& sizes) {
  DeltaBlocks at;
  at.decay = take_decay(arena);
  at.k = arena.take<Real>(KEY_BLOCK);
  at.w = arena.take<Real>(KEY_BLOCK);
  at.x = arena.take<Real>(ROWS * PASS_APART);
  at.all_keys = up(sizes.keys, KEYS);
  at.state = arena.take<Real>(at.all_keys * PASS_APART);
  return at;
}

// state (all keys, PASS) = columns `first`, ... of one in memory, which may be null; no barrier.
__device__ __forceinline__ void load_state(const DeltaBlocks& at, const Real* from,
                                           const Sizes& sizes, int first) {
  for (int i = threadIdx.x; i < at.all_keys * PASS; i += THREADS) {
    int k = i / PASS, v = i % PASS;
    bool real = from && k < sizes.keys && first + v < sizes.values;
    at.state[k * PASS_APART + v] = real ? from[(long long)k * sizes.values + first + v] : Real(0);
  }
}

__device__ __forceinline__ void store_state(const DeltaBlocks& at, Real* to, const Sizes& sizes,
                                            int first) {
  for (int i = threadIdx.x; i < at.all_keys * PASS; i += THREADS) {
    int k = i / PASS, v = i % PASS;
    if (k < sizes.keys && first + v < sizes.values)
      to[(long long)k * sizes.values + first + v] = at.state[k * PASS_APART + v];
  }
}

// x = f(t, v, number of X in memory, sum over keys of rows(t, i) state(i, v)), there and in shared
// memory; `rows` is where `from` (B, T, H, K) is put, tile after tile. Ends with a barrier.
template <class T, class F>
__device__ __forceinline__ void through_state(const DeltaBlocks& at, Real* rows, const T* from,
                                              Real* x, F f, const Chunk& chunk, const Sizes& sizes,
                                              int first) {
  Tile<ROWS, PASS, THREADS> tile;
  tile.clear();
  for (int k = 0; k < at.all_keys; k += KEYS) {
    load<ROWS, KEYS>(rows, KEY_APART, chunk.of(from, sizes, sizes.keys, k));
    __syncthreads();
    tile.product([&](int t, int i) { return rows[t * KEY_APART + i]; },
                 [&](int i, int v) { return at.state[(k + i) * PASS_APART + v]; }, KEYS);
    if (k + KEYS < at.all_keys) __syncthreads();
  }
  Matrix<Real> to = chunk.of(x, sizes, sizes.values, first);
  tile.each([&](int t, int v, Real sum) {
    Real number = f(t, to.get(t, v), sum);
    to.put(t, v, number);
    at.x[t * PASS_APART + v] = number;
  });
  __syncthreads();
}

// state(i, v) = whole state(i, v) + sum over t of factor(t) rows(t, i) x(t, v) + more(i, v). If
// there is one tile of keys, `rows` holds it already. Ends with a barrier.
template <class T, class F, class G>
__device__ __forceinline__ void into_state(const DeltaBlocks& at, Real* rows, const T* from,
                                           F factor, G more, const Chunk& chunk,
                                           const Sizes& sizes) {
  Real whole = at.decay.whole();
  for (int k = 0; k < at.all_keys; k += KEYS) {
    if (at.all_keys > KEYS) {
      load<ROWS, KEYS>(rows, KEY_APART, chunk.of(from, sizes, sizes.keys, k));
      __syncthreads();
    }
    Tile<KEYS, PASS, THREADS> tile;
    tile.clear();
    tile.product([&](int i, int t) { return factor(t) * rows[t * KEY_APART + i]; },
                 [&](int t, int v) { return at.x[t * PASS_APART + v]; }, ROWS);
    tile.each([&](int i, int v, Real sum) {
      Real& state = at.state[(k + i) * PASS_APART + v];
      state = whole * state + sum + more(k + i, v);
    });
    __syncthreads();
  }
}
