// A block of tokens backwards: the adjoint of each line of `deep_advance.cuh` and `deep_block.cuh`.
//
// Gates come in as g since, g lifted, g pairs, which both layers of a query's perceptron share; their
// gradients d' give dsince = g d'since and so on, and dg = <since, d'since> + ...
#pragma once
#include "deep_advance.cuh"

constexpr int SUMS = 5, EACH = Hidden::WARPS * ROWS;

// What a block backwards has in shared memory besides `Block`.
struct Turned {
  Real *q, *dy;                          // (ROWS, KEYS)
  Real *g_in, *g_out, *g_s_in, *g_s_out;  // (KEYS, SLICE) gradients of the memory after the block
  Real *d_query;                         // (ROWS, SLICE)
  Real *replied;                         // (ROWS, ROWS)
  Real *since, *lifted;                  // (ROWS) times the gate
  Real *sums;                            // (5, WARPS, ROWS): d'since, d'lifted, duntil, dpushed, <pairs, d'>
  Real *scalars, *scratch;
};

// Gradients that a block adds up over slices.
struct Totals {
  Answers in, in_moved;  // d_hidden w_in^T and s_in^T, of the queries' perceptrons
  Answers k, r;
  Pairs replies, asked;  // A_q A^T; d_hidden down^T
  Real decayed[3];       // <dW, W>, <dW, S>, <dS, S> of this thread's places
};

__device__ __forceinline__ Turned take_turned(Arena& arena, bool moves) {
  Turned y{};
  y.g_in = arena.take<Real>(KEYS * BY_UNIT);
  y.g_out = arena.take<Real>(KEYS * BY_UNIT);
  y.g_s_in = moves ? arena.take<Real>(KEYS * BY_UNIT) : nullptr;
  y.g_s_out = moves ? arena.take<Real>(KEYS * BY_UNIT) : nullptr;
  y.d_query = arena.take<Real>(ROWS * BY_UNIT);
  y.q = arena.take<Real>(ROWS * BY_KEY);
  y.dy = arena.take<Real>(ROWS * BY_KEY);
  y.replied = arena.take<Real>(ROWS * BY_ROW);
  y.since = arena.take<Real>(ROWS);
  y.lifted = arena.take<Real>(ROWS);
  y.sums = arena.take<Real>(SUMS * EACH);
  y.scalars = arena.take<Real>(6 * ROWS);
  y.scratch = arena.take<Real>(32);
  return y;
}

// From dy to the gradient of g X + extra in y.d_query; A_q in x.query. Ends with a barrier.
__device__ __forceinline__ void query_backward(const Call& c, Span p, int slice, const Block& x,
                                               const Turned& y, const Real* d_hidden,
                                               Real* d_extra) {
  Hidden query, along, lifted;
  ask_hidden(x, y.q, query);
  times(along, y.dy, x.w_out);
  lifted.clear();
  if (x.s_out) times(lifted, y.dy, x.s_out);
  Real slope[Hidden::OWN][4];
  Matrix<const Real> extra = rows_of(c, p, c.extra, c.width, slice);
  each_place<Hidden>([&](int i, int j, int own, int part) {
    Real before = x.gate[i] * query.x[own][part] + (c.extra ? extra.get(i, j) : Real(0));
    Gelu z = gelu(before);
    slope[own][part] = z.slope;
    query.x[own][part] = x.query[i * BY_UNIT + j] = z.value;
  });
  add_row_sums<Hidden>(y.sums, [&](int, int, int own, int part) {
    return query.x[own][part] * along.x[own][part];
  });
  add_row_sums<Hidden>(y.sums + EACH, [&](int, int, int own, int part) {
    return query.x[own][part] * lifted.x[own][part];
  });
  each_place<Hidden>([&](int i, int, int own, int part) {
    along.x[own][part] = y.since[i] * along.x[own][part] + y.lifted[i] * lifted.x[own][part];
  });
  add_product(along, minus(rows_times(x.gate, of(y.replied, BY_ROW))), of(x.value, BY_UNIT), ROWS);
  Matrix<const Real> asked = rows_of(c, p, d_hidden, c.width, slice);
  Matrix<Real> out = rows_of(c, p, d_extra, c.width, slice);
  each_place<Hidden>([&](int i, int j, int own, int part) {
    Real d = along.x[own][part] + (d_hidden ? asked.get(i, j) : Real(0));
    d *= slope[own][part];
    y.d_query[i * BY_UNIT + j] = d;
    if (d_extra) out.put(i, j, d);
  });
  __syncthreads();
}

// Through the memory after the block: `d` is of the hidden side of a layer (down or A), `rows` its
// other side. With R = rows G: d -= until . R, and the dots of R with the hidden side.
__device__ __forceinline__ void written_backward(const Block& x, const Turned& y, const Real* rows,
                                                 const Real* hidden, const Real* g, const Real* g_s,
                                                 Hidden& d) {
  for (int which = 0; which < (g_s ? 2 : 1); ++which) {
    Hidden back;
    times(back, rows, which ? g_s : g);
    const Real* strength = which ? x.pushed : x.until;
    each_place<Hidden>([&](int i, int, int own, int part) {
      d.x[own][part] -= strength[i] * back.x[own][part];
    });
    add_row_sums<Hidden>(y.sums + (2 + which) * EACH, [&](int i, int j, int own, int part) {
      return -hidden[i * BY_UNIT + j] * back.x[own][part];
    });
  }
}

// One layer of the gradient of the memory before the block in `d`, from that after it in g, g_s.
__device__ __forceinline__ void layer_backward(const Call& c, Span p, int which, int slice,
                                               const Block& x, const Turned& y, Real* d,
                                               Totals& totals) {
  const Real *rows = which ? y.dy : y.q, *hidden = which ? x.query : y.d_query;
  const Real *g = which ? y.g_out : y.g_in, *g_s = which ? y.g_s_out : y.g_s_in;
  const Real *w = which ? x.w_out : x.w_in, *s = which ? x.s_out : x.s_in;
  Real since = x.since[p.count - 1], lifted = x.lifted[p.count - 1];
  bool folds = p.opens && p.stays_open;
  Layer read;
  read.clear();
  View left = turned(rows, BY_KEY);
  add_product(read, columns_times(y.since, left), of(hidden, BY_UNIT), ROWS);
  Matrix<Real> to = slice_of(c, d, which, slice);
  Matrix<Real> kept = slice_of(c, d + c.size - c.both(), which, slice);
  read.each([&](int i, int j, Real value) {
    int at = i * BY_UNIT + j;
    totals.decayed[0] += g[at] * w[at];
    value += since * g[at];
    if (folds) value += kept.get(i, j);
    if (folds) kept.put(i, j, Real(0));
    to.put(i, j, value);
  });
  if (!s) return;
  read.clear();
  add_product(read, columns_times(y.lifted, left), of(hidden, BY_UNIT), ROWS);
  Matrix<Real> moved = slice_of(c, d, which + 2, slice);
  read.each([&](int i, int j, Real value) {
    int at = i * BY_UNIT + j;
    totals.decayed[1] += g[at] * s[at];
    totals.decayed[2] += g_s[at] * s[at];
    moved.put(i, j, value + lifted * g[at] + *x.kept * g_s[at]);
  });
}
