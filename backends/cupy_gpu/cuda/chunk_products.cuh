// What a chunk adds to its state, (until . K)^T V, and to the gradient before it, (since . Q)^T dY.
#pragma once
#include "chunk_decay.cuh"

// A tile of a state becomes (factor . X)^T Y; the first tile's block also notes the whole decay.
template <bool BACK, class Given>
__device__ __forceinline__ void chunk_product(Arena arena, const Token* x, const Given* y,
                                              const Real* log_decay, Real* to, Real* whole,
                                              const Chunk& chunk, const Sizes& sizes) {
  Decay decay = take_decay(arena);
  Real* rows = arena.take<Real>(KEY_BLOCK);
  Real* values = arena.take<Real>(VALUE_BLOCK);
  int down = (sizes.keys + KEYS - 1) / KEYS;
  int k = int(blockIdx.z) % down * KEYS, v = int(blockIdx.z) / down * VALUES;
  ask_keys(rows, chunk.of(x, sizes, sizes.keys, k));
  ask_values(values, chunk.of(y, sizes, sizes.values, v));
  set_decay(decay, log_decay, chunk, sizes);
  arrived();
  const Real* factor = BACK ? decay.since : decay.until;
  Tile<KEYS, VALUES, THREADS> product;
  product.clear();
  product.product([&](int i, int t) { return factor[t] * rows[t * KEY_APART + i]; },
                  [&](int t, int j) { return values[t * VALUE_APART + j]; }, ROWS);
  Matrix<Real> tile = state_tile(to, sizes, k, v);
  product.each([&](int i, int j, Real number) { tile.put(i, j, number); });
  if (blockIdx.z == 0 && threadIdx.x == 0) *whole = decay.whole();
}
