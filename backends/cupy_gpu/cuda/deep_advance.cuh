// What a block of tokens answers, and the memory after it, slice after slice of hidden units.
//
//   X = since . (Q w_in) + lifted . (Q s_in) - (Q K^T . pairs) down         A_q = gelu(g X + extra)
//   Z = since . (A_q w_out) + lifted . (A_q s_out) - (A_q A^T . pairs) R    y = q + g Z
//   W' = since_end W + lifted_end S - (until . K)^T down                    S' = kept S - (pushed . K)^T down
//
// and the same of w_out with R, A in place of K, down.
#pragma once
#include "deep_inner.cuh"

// X of a slice, from queries q (ROWS, KEYS); x.asked holds Q K^T . pairs. The layers are the memory's.
__device__ __forceinline__ void ask_hidden(const Block& x, const Real* q, Hidden& tile) {
  tile.clear();
  add_product(tile, rows_times(x.since, of(q, BY_KEY)), of(x.w_in, BY_UNIT), KEYS);
  if (x.s_in)
    add_product(tile, rows_times(x.lifted, of(q, BY_KEY)), of(x.s_in, BY_UNIT), KEYS);
  add_product(tile, minus(of(x.asked, BY_ROW)), of(x.down, BY_UNIT), ROWS);
}

// tile = Q K^T.
__device__ __forceinline__ void pair_keys(const Real* q, const Real* k, Pairs& tile) {
  tile.clear();
  add_product(tile, of(q, BY_KEY), turned(k, BY_KEY), KEYS);
}

// One layer of the memory after the block: `which` 0 of k and down, 1 of r and value.
__device__ __forceinline__ void advance_layer(const Call& c, int last, int which, int slice,
                                              const Block& x, Real* after) {
  const Real *rows = which ? x.r : x.k, *hidden = which ? x.value : x.down;
  const Real *w = which ? x.w_out : x.w_in, *s = which ? x.s_out : x.s_in;
  Layer written;
  written.clear();
  View left = turned(rows, BY_KEY);
  add_product(written, columns_times(x.until, left), of(hidden, BY_UNIT), ROWS);
  Matrix<Real> to = slice_of(c, after, which, slice);
  Real since = x.since[last], lifted = x.lifted[last];
  written.each([&](int i, int j, Real value) {
    Real old = since * w[i * BY_UNIT + j];
    if (s) old += lifted * s[i * BY_UNIT + j];
    to.put(i, j, old - value);
  });
  if (!s) return;
  written.clear();
  add_product(written, columns_times(x.pushed, left), of(hidden, BY_UNIT), ROWS);
  Matrix<Real> moved = slice_of(c, after, which + 2, slice);
  written.each([&](int i, int j, Real value) {
    moved.put(i, j, *x.kept * s[i * BY_UNIT + j] - value);
  });
}

// The anchor goes along to the state after the block, if it is needed behind it.
__device__ __forceinline__ void keep_anchor(const Call& c, Span p, const Real* before, Real* after) {
  const Real* from = anchor_of(c, p, before);
  Real* to = after + c.size - c.both();
  if (!p.stays_open || from == to) return;
  for (int at = threadIdx.x; at < c.both(); at += THREADS) to[at] = from[at];
}

// A, down, and the memory's layers and momentum of a slice, in shared memory. Ends with a barrier.
template <class Keep>
__device__ __forceinline__ void load_memory(const Call& c, Span p, const Real* before, int slice,
                                            const Block& x, Keep keep) {
  __syncthreads();
  load_layers(c, anchor_of(c, p, before), slice, x);
  if (x.s_in) {
    load<KEYS, SLICE>(x.s_in, BY_UNIT, slice_of(c, before, 2, slice));
    load<KEYS, SLICE>(x.s_out, BY_UNIT, slice_of(c, before, 3, slice));
  }
  inner_gradient(x, keep);
  if (p.opens) return;
  load_layers(c, before, slice, x);
  __syncthreads();
}

// The state after a block from the one before, in place or elsewhere; errors are found.
__device__ __forceinline__ void advance_slice(const Call& c, Span p, int slice, const Block& x,
                                              Real* after) {
  advance_layer(c, p.count - 1, 0, slice, x, after);
  advance_layer(c, p.count - 1, 1, slice, x, after);
}
