// A block of tokens backwards: the two passes over slices of hidden units, of which the first finds
// the gradient of the errors, and the second what they are made of.
#pragma once
#include "deep_block_back.cuh"

// Global memory of a block: the gradient of the state; of A and of down (ROWS, E), between two passes.
struct Room {
  Real *d, *value, *down;
};

// The first pass over the slices: all but what needs the gradient of the errors.
__device__ __forceinline__ void slice_backward(const Call& c, Span p, int slice, const Block& x,
                                               const Turned& y, const Gradients& g, Real* before,
                                               const Room& room, Totals& totals) {
  Real slope[Hidden::OWN][4];
  load_memory(c, p, before, slice, x, [&](int own, int part, Gelu z, Real pulled) {
    slope[own][part] = z.slope;
  });
  load<KEYS, SLICE>(y.g_in, BY_UNIT, slice_of(c, room.d, 0, slice));
  load<KEYS, SLICE>(y.g_out, BY_UNIT, slice_of(c, room.d, 1, slice));
  if (x.s_in) load<KEYS, SLICE>(y.g_s_in, BY_UNIT, slice_of(c, room.d, 2, slice));
  if (x.s_in) load<KEYS, SLICE>(y.g_s_out, BY_UNIT, slice_of(c, room.d, 3, slice));
  query_backward(c, p, slice, x, y, g.hidden, g.extra);
  add_product(totals.replies, of(x.query, BY_UNIT), turned(x.value, BY_UNIT), SLICE);
  add_product(totals.asked, of(y.d_query, BY_UNIT), turned(x.down, BY_UNIT), SLICE);
  add_back(totals.in, of(y.d_query, BY_UNIT), x.w_in);
  if (x.s_in) add_back(totals.in_moved, of(y.d_query, BY_UNIT), x.s_in);
  Hidden d_value, d_down;
  d_value.clear();
  add_product(d_value, minus(columns_times(x.gate, turned(y.replied, BY_ROW))),
              of(x.query, BY_UNIT), ROWS);
  written_backward(x, y, x.r, x.value, y.g_out, y.g_s_out, d_value);
  d_down.clear();
  add_product(d_down, minus(columns_times(x.gate, turned(x.asked, BY_ROW))),
              of(y.d_query, BY_UNIT), ROWS);
  written_backward(x, y, x.k, x.down, y.g_in, y.g_s_in, d_down);
  add_back(totals.k, minus(rows_times(x.until, of(x.down, BY_UNIT))), y.g_in);
  add_back(totals.r, minus(rows_times(x.until, of(x.value, BY_UNIT))), y.g_out);
  if (x.s_in) add_back(totals.k, minus(rows_times(x.pushed, of(x.down, BY_UNIT))), y.g_s_in);
  if (x.s_in) add_back(totals.r, minus(rows_times(x.pushed, of(x.value, BY_UNIT))), y.g_s_out);
  layer_backward(c, p, 0, slice, x, y, room.d, totals);
  layer_backward(c, p, 1, slice, x, y, room.d, totals);
  __syncthreads();
  each_place<Hidden>([&](int i, int j, int own, int part) {
    y.d_query[i * BY_UNIT + j] = d_down.x[own][part] * slope[own][part];
    if (slice + j >= c.width) return;
    room.value[i * c.width + slice + j] = d_value.x[own][part];
    room.down[i * c.width + slice + j] = d_down.x[own][part];
  });
  if (!p.opens) load_layers(c, anchor_of(c, p, before), slice, x);
  __syncthreads();
  add_back(totals.r, of(y.d_query, BY_UNIT), x.w_out);
}

// The second: from the gradient of the answers M(k) in y.dy to those of k and of the anchor.
__device__ __forceinline__ void inner_backward(const Call& c, Span p, int slice, const Block& x,
                                               const Turned& y, Real* before, const Room& room,
                                               Totals& totals) {
  Hidden d_h, d_value;
  __syncthreads();
  load_layers(c, anchor_of(c, p, before), slice, x);
  inner_gradient(x, [&](int own, int part, Gelu z, Real pulled) {
    d_h.x[own][part] = z.curvature * pulled;
    d_value.x[own][part] = z.slope;
  });
  Hidden through;
  times(through, y.dy, x.w_out);
  each_place<Hidden>([&](int i, int j, int own, int part) {
    bool real = slice + j < c.width;
    long long at = (long long)i * c.width + slice + j;
    Real value = real ? room.value[at] : Real(0), down = real ? room.down[at] : Real(0);
    Real slope = d_value.x[own][part];
    x.query[i * BY_UNIT + j] = down * slope;
    y.d_query[i * BY_UNIT + j] =
        (value + through.x[own][part]) * slope + down * d_h.x[own][part];
  });
  __syncthreads();
  add_back(totals.k, of(y.d_query, BY_UNIT), x.w_in);
  Real* d = anchor_of(c, p, room.d);
  Matrix<Real> d_in = slice_of(c, d, 0, slice), d_out = slice_of(c, d, 1, slice);
  Layer written;
  written.clear();
  add_product(written, turned(x.k, BY_KEY), of(y.d_query, BY_UNIT), ROWS);
  written.each([&](int i, int j, Real value) { d_in.put(i, j, d_in.get(i, j) + value); });
  written.clear();
  add_product(written, turned(y.dy, BY_KEY), of(x.value, BY_UNIT), ROWS);
  add_product(written, turned(x.r, BY_KEY), of(x.query, BY_UNIT), ROWS);
  written.each([&](int i, int j, Real value) { d_out.put(i, j, d_out.get(i, j) + value); });
}

// Loads the block, finds its errors, and sets what all slices need.
__device__ __forceinline__ void begin_block(const Call& c, Span p, const Block& x, const Turned& y,
                                            const Token* dy, const Real* before) {
  load_block(c, p, x);
  load<ROWS, KEYS>(y.q, BY_KEY, rows_of(c, p, c.q, c.keys));
  load<ROWS, KEYS>(y.dy, BY_KEY, rows_of(c, p, dy, c.keys));
  for (int i = threadIdx.x; i < ROWS; i += THREADS) {
    y.since[i] = x.gate[i] * x.since[i];
    y.lifted[i] = x.gate[i] * x.lifted[i];
  }
  for (int i = threadIdx.x; i < SUMS * EACH; i += THREADS) y.sums[i] = Real(0);
  find_errors(c, p, anchor_of(c, p, before), x);
  Pairs asked, replied;
  pair_keys(y.q, x.k, asked);
  pair_keys(y.dy, x.r, replied);
  each_place<Pairs>([&](int i, int j, int own, int part) {
    int at = i * BY_ROW + j;
    x.asked[at] = x.pairs[at] * asked.x[own][part];
    y.replied[at] = x.pairs[at] * replied.x[own][part];
  });
}
