// Tokens that read a cached perceptron: of a stretch of them those that do are chosen, and go through
// it a tile at a time, a slice of its hidden units at a time.
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

constexpr int STRETCH = THREADS;  // tokens from which a block chooses, at most

struct Work {
  Real *q, *dy;                         // (ROWS, KEYS)
  Real *w_in, *w_out;                   // (KEYS, SLICE)
  Real *hidden, *d_hidden;              // (ROWS, SLICE)
  Real *along, *sums;                   // (ROWS), (WARPS, ROWS)
  Real* weights;                        // (STRETCH) of the chosen tokens; 0 behind them
  int *chosen, *scratch;                // (STRETCH) their places in the stretch; -1 behind them
};

__device__ __forceinline__ Work take_work(Arena& arena, bool backward) {
  Work w{};
  w.q = arena.take<Real>(ROWS * BY_KEY);
  w.w_in = arena.take<Real>(KEYS * BY_UNIT);
  w.w_out = arena.take<Real>(KEYS * BY_UNIT);
  w.hidden = arena.take<Real>(ROWS * BY_UNIT);
  w.weights = arena.take<Real>(STRETCH);
  w.chosen = arena.take<int>(STRETCH);
  w.scratch = arena.take<int>(32);
  if (!backward) return w;
  w.dy = arena.take<Real>(ROWS * BY_KEY);
  w.d_hidden = arena.take<Real>(ROWS * BY_UNIT);
  w.along = arena.take<Real>(ROWS);
  w.sums = arena.take<Real>(Hidden::WARPS * ROWS);
  return w;
}

// Chooses those of `count` tokens from t on that read a column, in their order; returns how many.
// Begins and ends with a barrier.
__device__ __forceinline__ int choose(const Columns& c, int b, int t, int count, int h, int column,
                                      const Work& w) {
  int i = threadIdx.x, lane = i & 31, before = 0, found = 0;
  __syncthreads();
  Real weight = i < count ? c.weight(b, t + i, h, column) : Real(0);
  unsigned reads = __ballot_sync(EVERY_LANE, weight != Real(0));
  if (lane == 0) w.scratch[i >> 5] = __popc(reads);
  __syncthreads();
  for (int warp = 0; warp < THREADS / 32; ++warp) {
    if (warp < i >> 5) before += w.scratch[warp];
    found += w.scratch[warp];
  }
  before += __popc(reads & ((1u << lane) - 1));
  if (weight != Real(0)) {
    w.chosen[before] = i;
    w.weights[before] = weight;
  }
  if (i >= found) {
    w.chosen[i] = -1;
    w.weights[i] = Real(0);
  }
  __syncthreads();
  return found;
}

// The tile of chosen tokens from number `first` on.
__device__ __forceinline__ Work tile_of(Work w, int first) {
  w.chosen += first;
  w.weights += first;
  return w;
}

// Rows of an array (B, T, H, K) for the tile's tokens of the stretch from t on. No barrier.
__device__ __forceinline__ void gather(const Columns& c, int b, int t, int h, const Token* x,
                                       const Work& w, Real* to) {
  for (int at = threadIdx.x; at < ROWS * KEYS; at += THREADS) {
    int i = at / KEYS, j = at % KEYS, token = w.chosen[i];
    bool real = token >= 0 && j < c.keys;
    to[i * BY_KEY + j] = real ? Real(x[c.token(b, t + token, h) * c.keys + j]) : Real(0);
  }
}

// to (B, T, H, K) += answers + weights . rows, for the tile's tokens.
__device__ __forceinline__ void scatter(const Columns& c, int b, int t, int h, Answers& answers,
                                        const Real* rows, const Work& w, Real* to) {
  answers.each([&](int i, int j, Real value) {
    if (w.chosen[i] >= 0 && j < c.keys)
      to[c.token(b, t + w.chosen[i], h) * c.keys + j] += value + w.weights[i] * rows[i * BY_KEY + j];
  });
}

// Zeros for `count` tokens from t on, of an array (B, T, H, K). No barrier.
__device__ __forceinline__ void clear_rows(const Columns& c, int b, int t, int count, int h,
                                           Real* to) {
  for (int at = threadIdx.x; at < count * c.keys; at += THREADS)
    if (t + at / c.keys < c.tokens)
      to[c.token(b, t + at / c.keys, h) * c.keys + at % c.keys] = Real(0);
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
