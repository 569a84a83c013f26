// A tile of tokens that reads a slice of hidden units of a cached perceptron.
#pragma once
#include "deep_columns.cuh"
#include "gelu.cuh"
#include "product.cuh"
#include "tile_rows.cuh"

#ifndef MC_KEYS
#define MC_KEYS 64
#define MC_ROWS 64
#define MC_SLICE 64
#endif

constexpr int KEYS = MC_KEYS, ROWS = MC_ROWS, SLICE = MC_SLICE, THREADS = 256;
constexpr int BY_KEY = padded(KEYS), BY_UNIT = padded(SLICE);
typedef Tile<ROWS, SLICE, THREADS> Hidden;
typedef Tile<ROWS, KEYS, THREADS> Answers;

struct Work {
  Real *q, *dy;                         // (ROWS, KEYS)
  Real *w_in, *w_out;                   // (KEYS, SLICE)
  Real *hidden, *d_hidden;              // (ROWS, SLICE)
  Real *weights, *total, *along, *sums;  // (ROWS), sums (WARPS, ROWS)
  int* scratch;
};

__device__ __forceinline__ Work take_work(Arena& arena, bool backward) {
  Work w{};
  w.q = arena.take<Real>(ROWS * BY_KEY);
  w.w_in = arena.take<Real>(KEYS * BY_UNIT);
  w.w_out = arena.take<Real>(KEYS * BY_UNIT);
  w.hidden = arena.take<Real>(ROWS * BY_UNIT);
  w.weights = arena.take<Real>(ROWS);
  w.total = arena.take<Real>(ROWS);
  w.scratch = arena.take<int>(32);
  if (!backward) return w;
  w.dy = arena.take<Real>(ROWS * BY_KEY);
  w.d_hidden = arena.take<Real>(ROWS * BY_UNIT);
  w.along = arena.take<Real>(ROWS);
  w.sums = arena.take<Real>(Hidden::WARPS * ROWS);
  return w;
}

__device__ __forceinline__ void load_slice(const Columns& c, int b, int column, int h, int slice,
                                           const Work& w) {
  load<KEYS, SLICE>(w.w_in, BY_UNIT, c.matrix(b, column, h, 0, slice));
  load<KEYS, SLICE>(w.w_out, BY_UNIT, c.matrix(b, column, h, 1, slice));
}

// P of the tile's tokens.
__device__ __forceinline__ void excite(const Work& w, Hidden& p) {
  p.clear();
  add_product(p, of(w.q, BY_KEY), of(w.w_in, BY_UNIT), KEYS);
}

// From P and D: g gelu(P) in w.hidden, dP in w.d_hidden; `sums` may be null, or gets <d, gelu(p)>.
__device__ __forceinline__ void hidden_backward(const Work& w, Real* sums) {
  Hidden p, d;
  excite(w, p);
  d.clear();
  add_product(d, of(w.dy, BY_KEY), of(w.w_out, BY_UNIT), KEYS);
  each_place<Hidden>([&](int i, int j, int own, int part) {
    Gelu z = gelu(p.x[own][part]);
    Real back = d.x[own][part], weight = w.weights[i];
    w.hidden[i * BY_UNIT + j] = weight * z.value;
    w.d_hidden[i * BY_UNIT + j] = weight * z.slope * back;
    p.x[own][part] = z.value * back;
  });
  if (sums) add_row_sums<Hidden>(sums, [&](int, int, int own, int part) { return p.x[own][part]; });
}

// <dy, q> of the tile's tokens, a warp for each. No barrier.
__device__ __forceinline__ void dot_rows(const Work& w) {
  int lane = threadIdx.x & 31;
  for (int i = threadIdx.x >> 5; i < ROWS; i += Hidden::WARPS) {
    Real dot = Real(0);
    for (int j = lane; j < KEYS; j += 32) dot += w.dy[i * BY_KEY + j] * w.q[i * BY_KEY + j];
    dot = warp_sum(dot);
    if (lane == 0) w.along[i] = dot;
  }
}
