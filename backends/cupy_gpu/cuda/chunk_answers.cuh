// Answers of a chunk to its queries, and the same backwards to its values. With A = Q K^T . D:
//
//     Y = A V + since . (Q S)            dV = A^T dY + until . (K dS')
#pragma once
#include "chunk_decay.cuh"

// Blocks that a multiprocessor should hold of kernels that do nothing else.
constexpr int ANSWER_BLOCKS = KEYS == 64 && VALUES == 64 ? 4 : 2;

struct Queried {
  const Token *q, *k;
  const Real* log_decay;
};

// A tile of VALUES columns from `first`; `given` is V or dY; `state`, which may be null, S or dS'.
template <bool BACK, class Given, class Out>
__device__ __forceinline__ void chunk_answers(Arena arena, Queried x, const Given* given,
                                              Real* state, Out* out, const Chunk& chunk,
                                              const Sizes& sizes, int first) {
  Decay decay = take_decay(arena);
  Real* a = arena.take<Real>(larger(KEY_BLOCK, ROW_BLOCK));
  Real* b = arena.take<Real>(larger(KEY_BLOCK, VALUE_BLOCK));
  Real* c = arena.take<Real>(STATE_BLOCK);
  Tile<ROWS, ROWS, THREADS> pairs;
  Tile<ROWS, VALUES, THREADS> y;
  pairs.clear();
  y.clear();
  for (int k = 0; k < sizes.keys; k += KEYS) {
    ask_keys(a, chunk.of(x.q, sizes, sizes.keys, k));
    ask_keys(b, chunk.of(x.k, sizes, sizes.keys, k));
    if (state) ask_state(c, state_tile(state, sizes, k, first));
    if (k == 0) set_decay(decay, x.log_decay, chunk, sizes);
    arrived();
    pairs.product([&](int t, int i) { return a[t * KEY_APART + i]; },
                  [&](int i, int j) { return b[j * KEY_APART + i]; }, KEYS);
    const Real* asked = BACK ? b : a;
    if (state)
      y.product([&](int t, int i) { return asked[t * KEY_APART + i]; },
                [&](int i, int v) { return c[i * VALUE_APART + v]; }, KEYS);
    __syncthreads();
  }
  ask_values(b, chunk.of(given, sizes, sizes.values, first));
  pairs.each([&](int t, int j, Real pair) {
    a[t * ROW_APART + j] = j <= t ? pair * decay.between(t, j) : Real(0);
  });
  const Real* factor = BACK ? decay.until : decay.since;
  y.each([&](int t, int, Real& number) { number *= factor[t]; });
  arrived();
  y.product([&](int t, int j) { return BACK ? a[j * ROW_APART + t] : a[t * ROW_APART + j]; },
            [&](int j, int v) { return b[j * VALUE_APART + v]; }, ROWS);
  Matrix<Out> to = chunk.of(out, sizes, sizes.values, first);
  y.each([&](int t, int v, Real number) { to.put(t, v, number); });
}
