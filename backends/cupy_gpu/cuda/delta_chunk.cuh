// Delta rules as additive memories: the values that a chunk writes are corrections.
//
// With G = K K^T . D below the diagonal and N = V - since . (K S), the corrections X solve
//     (I + diag(beta) G) X = diag(beta) N,       X = U - W S,
//     U = (I + diag(beta) G)^-1 diag(beta) V,    W = (I + diag(beta) G)^-1 diag(beta since) K
// (Yang et al. 2024). U and W need no state, so only X = U - W S goes from chunk to chunk.
#pragma once
#include "chunk_answers.cuh"
#include "unit_lower.cuh"

// beta of a chunk's tokens, 0 behind them; no barrier.
__device__ __forceinline__ void load_beta(Real* to, const Real* beta, const Chunk& chunk,
                                          const Sizes& sizes) {
  for (int t = threadIdx.x; t < ROWS; t += THREADS)
    to[t] = t < chunk.count ? beta[chunk.token(sizes) + (long long)t * sizes.heads] : Real(0);
}

// (I + diag(beta) G)^-1 of chunk `index` of all (chunks, H, ROWS, ROWS).
__device__ __forceinline__ Real* inverse_of(Real* all, int index, const Chunk& chunk,
                                            const Sizes& sizes) {
  return all + ((long long)index * sizes.heads + chunk.head) * ROWS * ROWS;
}

// `out` = inverse (factor . given), tile after tile of `width` columns; `rows` is shared memory.
template <int COLUMNS, class T>
__device__ __forceinline__ void solved(const Real* inverse, const Real* factor, Real* rows,
                                       const T* given, Real* out, int width, const Chunk& chunk,
                                       const Sizes& sizes) {
  constexpr int APART = padded(COLUMNS);
  for (int first = 0; first < width; first += COLUMNS) {
    __syncthreads();
    ask<ROWS, COLUMNS, THREADS>(rows, APART, chunk.of(given, sizes, width, first));
    arrived();
    Tile<ROWS, COLUMNS, THREADS> tile;
    tile.clear();
    tile.product([&](int t, int j) { return inverse[t * ROW_APART + j]; },
                 [&](int j, int i) { return factor[j] * rows[j * APART + i]; }, ROWS);
    Matrix<Real> to = chunk.of(out, sizes, width, first);
    tile.each([&](int t, int i, Real x) { to.put(t, i, x); });
  }
}
